# Makes the folders of an installed tree before anything is put into them, so that all users can read what root
# installs, whatever its umask. CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS would say it, but CMake 4.4 ignores it.
# Included before the first folder that installs something. Folders that are there keep their permissions.
install(CODE "
  set(permissions OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  foreach(folder ${CMAKE_INSTALL_BINDIR} ${CMAKE_INSTALL_LIBDIR}/cmake/rse ${CMAKE_INSTALL_INCLUDEDIR}/rse/ops
                 ${CMAKE_INSTALL_DATADIR}/rse/configs ${CMAKE_INSTALL_DATADIR}/rse/scripts)
    set(path \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
    string(REPLACE / \";\" names ./\${folder})
    foreach(name \${names})
      string(APPEND path /\${name})
      if(NOT EXISTS \${path})
        file(MAKE_DIRECTORY \${path})
        file(CHMOD \${path} DIRECTORY_PERMISSIONS \${permissions})
      endif()
    endforeach()
  endforeach()")

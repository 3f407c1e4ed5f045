# cmake --install installs the programs, the operator library with its one public header and a CMake package, the
# configurations, and the script that draws reports.
#
# Only ops/attention.h is public, as <rse/ops/attention.h>, because it includes no other header of the project. The
# headers that load and run a model (nn/, run/) are left out: they include a dozen others down to core/, fmt, yaml-cpp
# and spdlog, and their names and layout change with the programs. A C++ program that needs a model builds against the
# source.
#
#   find_package(rse REQUIRED)                          # finds Torch, too
#   target_link_libraries(my_program PRIVATE rse::ops)
include(CMakePackageConfigHelpers)
# Folders that root makes can be read by all, whatever its umask, as CMake makes files.
set(CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(RSE_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/rse)

install(FILES ${CMAKE_SOURCE_DIR}/src/ops/attention.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rse/ops)
install(EXPORT rse NAMESPACE rse:: FILE rseTargets.cmake DESTINATION ${RSE_PACKAGE_DIR})
configure_package_config_file(${CMAKE_SOURCE_DIR}/src/cmake/rseConfig.cmake.in
  ${CMAKE_BINARY_DIR}/package/rseConfig.cmake INSTALL_DESTINATION ${RSE_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/package/rseConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/package/rseConfig.cmake ${CMAKE_BINARY_DIR}/package/rseConfigVersion.cmake
        DESTINATION ${RSE_PACKAGE_DIR})

install(DIRECTORY ${CMAKE_SOURCE_DIR}/configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/rse/configs
        FILES_MATCHING PATTERN "*.yaml")
install(FILES ${CMAKE_SOURCE_DIR}/scripts/report.py ${CMAKE_SOURCE_DIR}/scripts/report_figures.py
        ${CMAKE_SOURCE_DIR}/scripts/report_html.py ${CMAKE_SOURCE_DIR}/scripts/requirements-report.txt
        DESTINATION ${CMAKE_INSTALL_DATADIR}/rse/scripts)

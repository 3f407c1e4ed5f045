# cmake --install: programs, operator library, public headers, configurations.
install(DIRECTORY ${CMAKE_SOURCE_DIR}/src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rse
        FILES_MATCHING PATTERN "*.h" PATTERN "cmake" EXCLUDE PATTERN "apps" EXCLUDE)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/rse/configs
        FILES_MATCHING PATTERN "*.yaml")

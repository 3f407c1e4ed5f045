# cmake --install: programs, operator library, public headers, configurations, the script that draws reports.
install(DIRECTORY ${CMAKE_SOURCE_DIR}/src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rse
        FILES_MATCHING PATTERN "*.h" PATTERN "cmake" EXCLUDE PATTERN "apps" EXCLUDE)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/rse/configs
        FILES_MATCHING PATTERN "*.yaml")
install(FILES ${CMAKE_SOURCE_DIR}/scripts/report.py ${CMAKE_SOURCE_DIR}/scripts/report_figures.py
        ${CMAKE_SOURCE_DIR}/scripts/report_html.py ${CMAKE_SOURCE_DIR}/scripts/requirements-report.txt
        DESTINATION ${CMAKE_INSTALL_DATADIR}/rse/scripts)

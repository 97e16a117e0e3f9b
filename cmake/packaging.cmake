# What `cmake --install` puts down besides the plugins: the library, shared and static, its header,
# and what find_package(numaheap) and pkg-config read. The tree can be moved as a whole.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(numaheap_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/numaheap)
set(numaheap_pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS numaheap numaheap_static EXPORT numaheapTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/src/api/numaheap.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT numaheapTargets NAMESPACE numaheap:: DESTINATION ${numaheap_cmake_dir})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/numaheapConfig.cmake.in
  ${PROJECT_BINARY_DIR}/numaheapConfig.cmake INSTALL_DESTINATION ${numaheap_cmake_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/numaheapConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/numaheapConfig.cmake
  ${PROJECT_BINARY_DIR}/numaheapConfigVersion.cmake
  DESTINATION ${numaheap_cmake_dir})

file(RELATIVE_PATH numaheap_pkgconfig_to_prefix /prefix/${numaheap_pkgconfig_dir} /prefix)
configure_file(${PROJECT_SOURCE_DIR}/cmake/numaheap.pc.in ${PROJECT_BINARY_DIR}/numaheap.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/numaheap.pc DESTINATION ${numaheap_pkgconfig_dir})

# dashgate_generate(OUT folder SOURCES variable FOLDERS folder... SERVICES file... MESSAGES file...)
#
# Generates C++ from .proto files with the protoc and the gRPC plugin of the libraries found, and
# sets the variable to the sources. CMake's own protobuf_generate differs between versions and does
# not support plugins in the older ones.
function(dashgate_generate)
  cmake_parse_arguments(ARG "" "OUT;SOURCES" "FOLDERS;SERVICES;MESSAGES" ${ARGN})

  if(TARGET protobuf::protoc)
    set(protoc "$<TARGET_FILE:protobuf::protoc>")
  else()
    find_program(DASHGATE_PROTOC protoc REQUIRED)
    set(protoc "${DASHGATE_PROTOC}")
  endif()
  if(TARGET gRPC::grpc_cpp_plugin)
    set(plugin "$<TARGET_FILE:gRPC::grpc_cpp_plugin>")
  else()
    find_program(DASHGATE_GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
    set(plugin "${DASHGATE_GRPC_CPP_PLUGIN}")
  endif()

  set(includes)
  foreach(folder IN LISTS ARG_FOLDERS Protobuf_INCLUDE_DIRS)
    list(APPEND includes "-I${folder}")
  endforeach()

  set(inputs)
  set(outputs)
  set(sources)
  foreach(file IN LISTS ARG_SERVICES ARG_MESSAGES)
    foreach(folder IN LISTS ARG_FOLDERS)
      if(EXISTS "${folder}/${file}")
        list(APPEND inputs "${folder}/${file}")
      endif()
    endforeach()
    string(REGEX REPLACE "\\.proto$" "" stem "${ARG_OUT}/${file}")
    list(APPEND sources "${stem}.pb.cc")
    list(APPEND outputs "${stem}.pb.cc" "${stem}.pb.h")
    if(file IN_LIST ARG_SERVICES)
      list(APPEND sources "${stem}.grpc.pb.cc")
      list(APPEND outputs "${stem}.grpc.pb.cc" "${stem}.grpc.pb.h")
    endif()
  endforeach()

  set(services_command)
  if(ARG_SERVICES)
    set(services_command COMMAND "${protoc}" "--grpc_out=${ARG_OUT}"
        "--plugin=protoc-gen-grpc=${plugin}" ${includes} ${ARG_SERVICES})
  endif()

  file(MAKE_DIRECTORY "${ARG_OUT}")
  add_custom_command(
    OUTPUT ${outputs}
    COMMAND "${protoc}" "--cpp_out=${ARG_OUT}" ${includes} ${ARG_SERVICES} ${ARG_MESSAGES}
    ${services_command}
    DEPENDS ${inputs}
    COMMENT "Making C++ of the schema"
    VERBATIM)
  set(${ARG_SOURCES} ${sources} PARENT_SCOPE)
endfunction()

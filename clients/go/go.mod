module github.com/dashgate/dashgate/clients/go

go 1.25.0

// gRPC 1.84 is the last version for Go 1.25. A module that requires a newer one gets it.
require (
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260706201446-f0a921348800
	google.golang.org/grpc v1.84.0
	google.golang.org/protobuf v1.36.12
)

require (
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.40.0 // indirect
)

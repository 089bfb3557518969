package dashgate

import (
	"strings"

	"google.golang.org/grpc"
	grpcmetadata "google.golang.org/grpc/metadata"
)

// responseMetadata are the initial metadata and the trailers of a response.
type responseMetadata struct{ header, trailer grpcmetadata.MD }

// options have gRPC store the metadata of a unary call here.
func (r *responseMetadata) options() []grpc.CallOption {
	return []grpc.CallOption{grpc.Header(&r.header), grpc.Trailer(&r.trailer)}
}

// metadataOf returns the metadata of a stream that has ended: before, it would wait.
func metadataOf(stream grpc.ClientStream) responseMetadata {
	// The error is that of the stream, which reading it returned.
	header, _ := stream.Header()
	return responseMetadata{header: header, trailer: stream.Trailer()}
}

// texts returns the metadata without binary ones. Several values are joined by a comma. A name in
// both has the value of the trailers.
func (r responseMetadata) texts() map[string]string {
	texts := make(map[string]string)
	// gRPC has the names in lower case.
	for _, metadata := range []grpcmetadata.MD{r.header, r.trailer} {
		for name, values := range metadata {
			if !strings.HasSuffix(name, "-bin") {
				texts[name] = strings.Join(values, ", ")
			}
		}
	}
	return texts
}

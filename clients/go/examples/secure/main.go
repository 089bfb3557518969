// Command secure connects with TLS, with a client certificate, with an API key, and with options of
// gRPC: secure CA CERTIFICATE KEY.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/dashgate/dashgate/clients/go"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("give three PEM files: CA CERTIFICATE KEY")
	}
	if err := connect(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func connect(ca, certificate, key string) error {
	// region tls
	// The system's root certificates, and an API key.
	remote, err := dashgate.New("https://gate.example:443", dashgate.WithAPIKey("..."))
	if err != nil {
		return err
	}
	defer remote.Close()
	// Own root certificates, and a client certificate for mutual TLS.
	config, err := dashgate.TLSFromFiles(ca, certificate, key, "")
	if err != nil {
		return err
	}
	mutual, err := dashgate.New("gate.example:50051", dashgate.WithTLS(config))
	if err != nil {
		return err
	}
	defer mutual.Close()
	// A sidecar.
	sidecar, err := dashgate.New("unix:/run/dashgate.sock")
	if err != nil {
		return err
	}
	defer sidecar.Close()
	// endregion
	fmt.Println(remote, mutual, sidecar)
	return options()
}

func options() error {
	// region options
	client, err := dashgate.New("",
		dashgate.WithTimeout(2*time.Minute),
		dashgate.WithMaxRetries(5),
		dashgate.WithMetadata(map[string]string{"x-dashscope-workspace": "ws-1"}),
		dashgate.WithDialOptions(
			grpc.WithChainUnaryInterceptor(timed),
			grpc.WithInitialWindowSize(1<<20),
		))
	if err != nil {
		return err
	}
	defer client.Close()
	// endregion
	return nil
}

func timed(
	ctx context.Context, method string, request, response any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	begun := time.Now()
	defer func() { log.Println(method, time.Since(begun)) }()
	return invoke(ctx, method, request, response, conn, options...)
}

// Command secure connects with TLS, with a client certificate, and with an API key: secure CA
// CERTIFICATE KEY.
package main

import (
	"fmt"
	"log"
	"os"

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
	far, err := dashgate.New("https://gate.example:443", dashgate.WithAPIKey("..."))
	if err != nil {
		return err
	}
	defer far.Close()
	// Own root certificates, and a client certificate for mutual TLS.
	config, err := dashgate.TLSFromFiles(ca, certificate, key, "")
	if err != nil {
		return err
	}
	near, err := dashgate.New("gate.example:50051", dashgate.WithTLS(config))
	if err != nil {
		return err
	}
	defer near.Close()
	// A sidecar.
	beside, err := dashgate.New("unix:/run/dashgate.sock")
	if err != nil {
		return err
	}
	defer beside.Close()
	// endregion
	fmt.Println(far, near, beside)
	return nil
}

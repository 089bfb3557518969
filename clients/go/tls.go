package dashgate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFromFiles returns a TLS config from PEM files: CA certificates, client certificate and key.
// Each path may be empty. serverName is the name to verify in the server's certificate, if it
// differs from the target's host. The error is that of reading or parsing a file.
func TLSFromFiles(ca, certificate, key, serverName string) (*tls.Config, error) {
	config := &tls.Config{ServerName: serverName}
	if ca != "" {
		roots, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(roots) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", ca)
		}
	}
	if (certificate == "") != (key == "") {
		return nil, errors.New("certificate and key belong together; one of them is missing")
	}
	if certificate != "" {
		own, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

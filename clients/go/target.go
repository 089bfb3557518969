package dashgate

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// endpoint is a target in the form that gRPC wants, and what the way to it was said to be.
type endpoint struct {
	address string
	scheme  string
}

const targetForms = "give host:port, http://host:port, https://host:port or unix:/path"

// parseTarget reads the four forms of a target.
func parseTarget(target string) (endpoint, error) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		if path == "" {
			return endpoint{}, fmt.Errorf("target %q has no path; %s", target, targetForms)
		}
		return endpoint{target, "unix"}, nil
	}
	full := target
	if !strings.Contains(target, "://") {
		full = "//" + target
	}
	parsed, err := url.Parse(full)
	if err != nil {
		return endpoint{}, fmt.Errorf("target %q: %w; %s", target, err, targetForms)
	}
	ports := map[string]string{"": "", "http": "80", "https": "443"}
	port, known := ports[parsed.Scheme]
	if !known {
		return endpoint{}, fmt.Errorf("target %q begins with %s://; %s", target, parsed.Scheme, targetForms)
	}
	more := parsed.User != nil || strings.Trim(parsed.Path, "/") != "" ||
		parsed.RawQuery != "" || parsed.Fragment != ""
	if more {
		return endpoint{}, fmt.Errorf("target %q is more than a host and a port; %s", target, targetForms)
	}
	if parsed.Port() != "" {
		port = parsed.Port()
	}
	if parsed.Hostname() == "" || port == "" {
		return endpoint{}, fmt.Errorf("target %q needs a host and a port; %s", target, targetForms)
	}
	return endpoint{net.JoinHostPort(parsed.Hostname(), port), parsed.Scheme}, nil
}

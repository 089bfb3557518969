package dashgate

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// endpoint is a target in the form that gRPC requires, with its scheme.
type endpoint struct {
	address string
	scheme  string
}

// defaultPort is the gateway's.
const defaultPort = "50051"

const targetForms = "give host:port, http://host:port, https://host:port, dns:///host:port or unix:/path"

// parseTarget parses a target. The port is optional.
func parseTarget(target string) (endpoint, error) {
	if strings.Contains(target, "@") && !strings.HasPrefix(target, "unix:") {
		return endpoint{}, errors.New("the target has a name or a password: use WithAPIKey")
	}
	for _, scheme := range []string{"dns", "ipv4", "ipv6"} {
		if rest, ok := strings.CutPrefix(target, scheme+":"); ok {
			return parseNamed(target, scheme, rest)
		}
	}
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		// What follows two slashes is an authority, which there is none of.
		authority, hasAuthority := strings.CutPrefix(path, "//")
		if path == "" || hasAuthority && !strings.HasPrefix(authority, "/") {
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
	ports := map[string]string{"": defaultPort, "http": defaultPort, "https": "443"}
	port, known := ports[parsed.Scheme]
	if !known {
		return endpoint{}, fmt.Errorf("target %q begins with %s://; %s", target, parsed.Scheme, targetForms)
	}
	more := strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "" ||
		strings.Contains(parsed.Host, ",")
	if more {
		return endpoint{}, fmt.Errorf("target %q is more than a host and a port; %s", target, targetForms)
	}
	if parsed.Port() != "" || strings.HasSuffix(parsed.Host, ":") {
		port = parsed.Port()
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return endpoint{}, fmt.Errorf("target %q has no valid port; %s", target, targetForms)
	}
	if parsed.Hostname() == "" {
		return endpoint{}, fmt.Errorf("target %q needs a host; %s", target, targetForms)
	}
	return endpoint{net.JoinHostPort(parsed.Hostname(), port), parsed.Scheme}, nil
}

// parseNamed parses a target in gRPC's own syntax: a name that resolves to several addresses, or
// one address.
func parseNamed(target, scheme, rest string) (endpoint, error) {
	if scheme == "dns" {
		rest = strings.TrimPrefix(rest, "///")
	}
	if strings.ContainsAny(rest, ",/") {
		return endpoint{}, fmt.Errorf("target %q: give one address, or dns:///host:port for many; %s", target, targetForms)
	}
	place, err := parseTarget(rest)
	if err != nil || place.scheme != "" {
		return endpoint{}, fmt.Errorf("target %q needs a host; %s", target, targetForms)
	}
	if scheme == "dns" {
		return endpoint{"dns:///" + place.address, scheme}, nil
	}
	return place, nil
}

// spread adds the round_robin load balancing policy to a service config.
func spread(config string) string {
	return strings.Replace(config, "{", `{ "loadBalancingConfig": [{ "round_robin": {} }],`, 1)
}

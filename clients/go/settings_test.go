package dashgate

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	for target, want := range map[string]string{
		"h:1": "h:1", "h": "h:50051", "http://h": "h:50051", "dns:///h": "dns:///h:50051", "127.0.0.1:1": "127.0.0.1:1", "http://h:1/": "h:1", "https://h": "h:443",
		"[::1]:1": "[::1]:1", "unix:/run/x.sock": "unix:/run/x.sock",
		"dns:///h:1": "dns:///h:1", "dns:h:1": "dns:///h:1", "ipv4:10.0.0.1:1": "10.0.0.1:1",
		"ipv6:[::1]:1": "[::1]:1",
	} {
		got, err := parseTarget(target)
		if err != nil {
			t.Error(err)
		}
		equal(t, target, got.address, want)
	}
	for _, wrong := range []string{
		":1", "ftp://h:1", "h:1/path", "h:x", "h:", "h:99999", "h:1 ", "unix:", "unix://h", "https://", "dns:///",
		"dns://server/h:1", "ipv4:10.0.0.1:1,10.0.0.2:1", "h:1,g:2", "h,g", "xds:///h:1",
	} {
		if _, err := parseTarget(wrong); err == nil || !strings.Contains(err.Error(), targetForms) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestAnErrorHasNoPasswordOfATarget(t *testing.T) {
	for _, target := range []string{
		"me:secret@h:1", "http://me:secret@h", "http://me:sec ret@h", "dns:///me:secret@h", "xds://secret@h",
	} {
		if _, err := New(target); err == nil || strings.Contains(err.Error(), "ret") {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestANameIsCalledAtAllItsAddresses(t *testing.T) {
	played := play(t)
	client, err := New("dns:///" + played.address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Converse(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal([]byte(spread(serviceConfig)), &config); err != nil {
		t.Fatal(err)
	}
	if config["loadBalancingConfig"] == nil || config["methodConfig"] == nil {
		t.Error(config)
	}
}

func TestEnvironmentFillsIn(t *testing.T) {
	played := play(t)
	t.Setenv("DASHGATE_ADDR", "http://"+played.address)
	t.Setenv("DASHGATE_API_KEY", "from-environment")
	client, err := New("")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Converse(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	equal(t, "key", played.metadata[0].Get("authorization"), []string{"Bearer from-environment"})
}

func TestContradictionsAreRefused(t *testing.T) {
	for name, options := range map[string][]ClientOption{
		"http and TLS": {WithTLS(nil)},
		"timeout":      {WithTimeout(-1)},
		"idle timeout": {WithIdleTimeout(0)},
		"key":          {WithAPIKey("hush\nhush")},
	} {
		if _, err := New("http://h:1", options...); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := TLSFromFiles("", "cert.pem", "", ""); err == nil {
		t.Error("a certificate needs its key")
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	client := play(t).client(t, WithAPIKey("hush-hush"))
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{client, *client, client.settings, &client.settings, WithAPIKey("hush-hush")} {
			if shown := fmt.Sprintf(form, value); strings.Contains(shown, "hush") {
				t.Errorf("%s of %T: %s", form, value, shown)
			}
		}
	}
}

func TestTablesAreTheCommonOnes(t *testing.T) {
	var common struct {
		Rules []struct {
			Match string `json:"match"`
			Types string `json:"types"`
		} `json:"rules"`
		Extensions map[string]string `json:"extensions"`
		Samples    []struct {
			Head     string `json:"head"`
			Name     string `json:"name"`
			Kind     string `json:"kind"`
			MIMEType string `json:"mime_type"`
		} `json:"samples"`
	}
	text, err := os.ReadFile("../../tests/conformance/sniffing.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &common); err != nil {
		t.Fatal(err)
	}
	equal(t, "extensions", extensions, common.Extensions)
	var all []sniffRule
	for _, rule := range common.Rules {
		all = append(all, sniffRule{rule.Match, rule.Types})
	}
	equal(t, "rules", rules, all)
	for _, sample := range common.Samples {
		head, err := hex.DecodeString(sample.Head)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, sample.Head+" "+sample.Name, sniff(head, sample.Name, sample.Kind), sample.MIMEType)
	}
	config, err := os.ReadFile("../service-config.json")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "service config", serviceConfig, string(config))
	// Of this folder only, a module has the licences.
	for _, name := range []string{"LICENSE-APACHE", "LICENSE-MIT"} {
		ours, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		common, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, string(ours), string(common))
	}
}

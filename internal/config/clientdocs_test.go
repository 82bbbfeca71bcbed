package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/config"
)

func TestClientDocuments(t *testing.T) {
	t.Parallel()
	parse := func(text string) (*config.Config, error) {
		return config.Build{Identity: true, AuthorizationServer: true, Getenv: home}.Parse(at("m.yaml"), []byte("servers: { x: { url: \"https://x.example\" } }\nauthorization_server: "+text+"\n"))
	}
	c, err := parse(`{ registration: true, documents: { allow: [app.example, "*.corp.example", "https://vscode.example/oauth/client.json", "app.example:8443"], insecure_any_host: true, insecure_private_hosts: ["127.0.0.1:9443"] } }`)
	if err != nil {
		t.Fatal(err)
	}
	want := config.ClientDocuments{Allow: []string{"app.example", "*.corp.example", "https://vscode.example/oauth/client.json", "app.example:8443"}, InsecureAnyHost: true,
		InsecurePrivateHosts: []string{"127.0.0.1:9443"}}
	if d := cmp.Diff(want, c.AuthorizationServer.Documents); d != "" {
		t.Error(d)
	}
	var got []string
	for _, d := range c.Departures() {
		got = append(got, d.Key)
	}
	for _, key := range []string{"authorization_server.documents.insecure_any_host", "authorization_server.documents.insecure_private_hosts[0]", "authorization_server.registration"} {
		if !strings.Contains(strings.Join(got, " "), key) {
			t.Errorf("%s is not shown", key)
		}
	}
	for _, bad := range []string{`""`, `"*"`, `"*.com"`, `App.example`, `"https://app.example"`, `"https://app.example/"`, `"http://app.example/c.json"`, `"https://app.example/c?x"`, `app.example/c`, `"app.example."`, `"a*.example"`} {
		if _, err := parse(`{ documents: { allow: [` + bad + `] } }`); err == nil || !strings.Contains(err.Error(), "documents.allow[0]") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/config"
)

const issuerWithSignIn = `
public_url: https://gw.example
identity: { issuers: [{ issuer: "https://idp.example", signin: { client_id: x } }] }
`

func TestApproval(t *testing.T) {
	t.Parallel()
	c := approving(t, issuerWithSignIn+`
approval:
  approvers:
    bosses: { groups: [bosses], roles: [lead] }
    auditors: { issuer: "https://idp.example", subjects: [kim, lee] }
  default: [auditors, operator]
  wait: 1m
  acr: [phr, mfa]
`)
	a := c.Approval
	if len(a.Approvers) != 2 || a.Approvers[0].Name != "auditors" || a.Approvers[1].Issuer != "https://idp.example" || a.Wait != time.Minute ||
		a.UseWithin != config.DefaultApprovalUseWithin || a.MaxAge != config.DefaultApprovalMaxAge || len(a.ACR) != 2 {
		t.Errorf("%+v", a)
	}
	if got := strings.Join(a.ApproverNames(), " "); got != "operator auditors bosses" {
		t.Errorf("%s", got)
	}
	if d := parse(t, "servers: {}").Approval; d.Wait != config.DefaultApprovalWait || d.Waiting != config.DefaultApprovalWaiting {
		t.Errorf("%+v", d)
	}
}

func TestApprovalFaults(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		`approval: { approvers: { operator: { groups: [x] } } }`:                                "means the operator already",
		`approval: { approvers: { "two words": { groups: [x] } } }`:                             "not a name for a list",
		`approval: { approvers: { bosses: {} } }`:                                               "list of nobody",
		`approval: { approvers: { bosses: { groups: [x], issuer: "https://other.example" } } }`: "names no issuer",
		`approval: { default: [nobody] }`:                                                       "not there",
		`approval: { wait: 2h }`:                                                                "out of range",
		`approval: { max_age: 0s }`:                                                             "out of range",
		`approval: { waiting: 0 }`:                                                              "out of range",
		`approval: { aprovers: {} }`:                                                            "did you mean approvers",
		`approval: { approvers: { bosses: { grups: [x] } } }`:                                   "did you mean groups",
	} {
		_, err := config.Build{Identity: true, Getenv: home}.Parse(at("m.yaml"), []byte(issuerWithSignIn+text))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
	_, err := config.Build{Identity: true, Getenv: home}.Parse(at("m.yaml"), []byte("public_url: https://gw.example\nidentity: { issuers: [{ issuer: \"https://idp.example\" }] }\napproval: { approvers: { bosses: { groups: [x] } } }\n"))
	if err == nil || !strings.Contains(err.Error(), "cannot sign in") {
		t.Errorf("%v", err)
	}
}

func approving(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Build{Identity: true, Getenv: home}.Parse(at("m.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

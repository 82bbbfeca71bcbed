package cedar

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// approvalTables are the wanted decisions of the cookbook of docs/approval.md,
// by the first @id of each policy there.
func approvalTables() map[string]string {
	const people = `people:
  fin: { issuer: "https://idp.example/realms/corp", subject: f, groups: [finance] }
  mfa: { issuer: "https://idp.example/realms/corp", subject: f, groups: [finance], acr: mfa, auth_time: 4102444800 }
  staff: { issuer: "https://idp.example/realms/corp", subject: s, groups: [staff], scopes: ["archive:call"] }
  reader: { issuer: "https://idp.example/realms/corp", subject: s, groups: [staff], scopes: ["archive:history"] }
  key: { issuer: "https://idp.example/realms/corp", subject: s, groups: [staff], acr: phr, amr: [hwk, pin] }
  phr: { issuer: "https://idp.example/realms/corp", subject: s, groups: [staff], acr: phr, amr: [hwk] }
  sales: { issuer: "https://idp.example/realms/corp", subject: v, groups: [sales] }
  other: { issuer: "https://other.example", subject: f, groups: [finance, staff, sales] }
  me: { kind: operator, issuer: "munjigi:local", subject: operator }
cases:
`
	tables := map[string]string{
		"finance-pays-freshly": `
  - { who: fin, method: tools/call, server: bank, name: pay, want: step-up, listed: true }
  - { who: mfa, method: tools/call, server: bank, name: pay, want: step-up, listed: true }
  - { who: staff, method: tools/call, server: bank, name: pay, want: deny, listed: false }
  - { who: other, method: tools/call, server: bank, name: pay, want: deny, listed: false }`,
		"finance-pays-little": `
  - { who: fin, method: tools/call, server: bank, name: pay, arguments: { amount: 50 }, want: allow }
  - { who: fin, method: tools/call, server: bank, name: pay, arguments: { amount: 51 }, want: step-up }
  - { who: fin, method: tools/call, server: bank, name: pay, arguments: { amount: 5001 }, want: deny, listed: true }
  - { who: fin, method: tools/call, server: bank, name: pay, want: deny }`,
		"archive-by-scope": `
  - { who: staff, method: tools/call, server: archive, name: dig, want: scope, listed: true }
  - { who: reader, method: tools/call, server: archive, name: dig, want: allow }
  - { who: staff, method: resources/read, server: archive, name: "file:///a", want: scope }
  - { who: fin, method: tools/call, server: archive, name: dig, want: deny }`,
		"delete-by-key": `
  - { who: staff, method: tools/call, server: files, name: delete, want: step-up, listed: true }
  - { who: phr, method: tools/call, server: files, name: delete, want: step-up }
  - { who: key, method: tools/call, server: files, name: delete, want: allow }`,
		"sales-reads-crm": `
  - { who: sales, method: tools/call, server: crm, name: find, want: allow }
  - { who: sales, method: tools/call, server: crm, name: update, want: approval, listed: true }
  - { who: sales, method: tools/call, server: erp, name: find, want: deny }
  - { who: other, method: tools/call, server: crm, name: find, want: deny }`,
		"finance-pays-within-limit": `
  - { who: fin, method: tools/call, server: bank, name: pay, arguments: { amount: 500 }, want: allow }
  - { who: fin, method: tools/call, server: bank, name: pay, arguments: { amount: 501 }, want: step-up, listed: true }
  - { who: fin, method: tools/call, server: bank, name: pay, arguments: { amount: 50001 }, want: deny, listed: true }
  - { who: fin, method: tools/call, server: bank, name: pay, arguments: { to: x }, want: deny }`,
		"operator-does": `
  - { who: me, method: tools/list, server: files, want: allow }
  - { who: me, method: tools/call, server: files, name: read, want: allow }
  - { who: me, method: tools/call, server: files, name: delete_all, want: approval, listed: true }
  - { who: fin, method: tools/call, server: files, name: read, want: deny }`,
	}
	for id, cases := range tables {
		tables[id] = people + strings.TrimPrefix(cases, "\n") + "\n"
	}
	return tables
}

// TestTheCookbookOfApprovals plays each policy of docs/approval.md as it stands
// there.
func TestTheCookbookOfApprovals(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "approval.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```cedar\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	tables := approvalTables()
	if len(blocks) != len(tables) {
		t.Errorf("%d policies on the page, %d tables", len(blocks), len(tables))
	}
	for _, b := range blocks {
		id := regexp.MustCompile(`@id\("([^"]+)"\)`).FindStringSubmatch(b[1])[1]
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			table, err := ReadTable([]byte(tables[id]))
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range decider(t, b[1]).Play(t.Context(), table) {
				if !o.OK {
					t.Errorf("%s %s: wanted %s: %+v", o.Who, o.Target, o.Want, o.Got)
				}
			}
		})
	}
}

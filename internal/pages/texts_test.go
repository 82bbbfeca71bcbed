package pages

import (
	"reflect"
	"strings"
	"testing"
)

// TestTextsAreComplete: each language says everything, with the same places
// for what stands in it.
func TestTextsAreComplete(t *testing.T) {
	t.Parallel()
	en, ko := reflect.ValueOf(english()), reflect.ValueOf(korean())
	for i := range en.NumField() {
		name, a, b := en.Type().Field(i).Name, en.Field(i).String(), ko.Field(i).String()
		if a == "" || b == "" || a == b {
			t.Errorf("%s: %q and %q", name, a, b)
		}
		if strings.Count(a, "%s") != strings.Count(b, "%s") || strings.Count(a, "%") != strings.Count(a, "%s") || strings.Count(b, "%") != strings.Count(b, "%s") {
			t.Errorf("%s: other places: %q and %q", name, a, b)
		}
	}
}

func TestTextsFor(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": "en", "*": "en", "ko": "ko", "ko-KR,ko;q=0.9,en;q=0.8": "ko", "en-US,ko": "en", "fr,de;q=0.9": "en", "fr, ko;q=0.5, en;q=0.4": "ko",
		"ko;q=0": "en", "ko;q=x": "en", "en;q=0.1,KO": "ko", ";;,,;q=": "en", strings.Repeat("ko,", 10_000): "ko",
	} {
		if got := textsFor(accept).Language; got != want {
			t.Errorf("%.40q: %s, want %s", accept, got, want)
		}
	}
}

func TestInside(t *testing.T) {
	t.Parallel()
	for _, to := range []string{
		"https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/grants/open?id=g1#x", "/grants/open?id=../x", "/%2fevil.example",
		"/grants/open?id=g1&id=g2", "/grants/open?id=g1&x=y", "javascript:alert(1)", "/grants@evil.example", "/signin/out", "/mcp", "", " /grants",
		"/grants/open\r\nSet-Cookie: a=b?id=1", "/approvals?id=a", "/approvals/open", "/approvals/signin?id=a", "/oauth/consent", "/oauth/consent?id=a&x=y", "/oauth/authorize?id=a", "/oauth/consent/?id=a", "/grants/callback", "/grants/callback?state=a&state=b", strings.Repeat("/", 9000),
	} {
		if got := inside(to); got != PathGrants {
			t.Errorf("%q leads to %q", to, got)
		}
	}
	for _, to := range []string{"/grants", "/grants/open?id=A-z_9", "/grants/callback?code=c&state=s", "/oauth/consent?id=A-z_9", "/approvals", "/approvals/open?id=A-z_9"} {
		if got := inside(to); got != to {
			t.Errorf("%q leads to %q", to, got)
		}
	}
}

// Whatever a link says, it leads to a path of ours, and again to the same one.
func FuzzInside(f *testing.F) {
	f.Add("/grants/open?id=x")
	f.Add("//evil.example/grants/open?id=x")
	f.Add("/grants/callback?state=%0d%0a&x=/\\evil")
	f.Fuzz(func(t *testing.T, to string) {
		got := inside(to)
		if strings.ContainsAny(got, "\r\n\\") || inside(got) != got {
			t.Errorf("%q leads to %q", to, got)
		}
		if path, _, _ := strings.Cut(got, "?"); path != "/grants" && path != "/grants/open" && path != "/grants/callback" && path != "/oauth/consent" {
			t.Errorf("%q leads to %q", to, got)
		}
	})
}

package poisoning

import (
	"net/netip"
	"strings"
	"unicode"
)

// atomClass says what an address, a path or a name is; zero for a plain word.
func atomClass(w, own string) class {
	if len(w) < 3 {
		return 0
	}
	l := strings.ToLower(w)
	if l = strings.Trim(l, "'*_"); len(l) < 3 {
		return 0
	}
	switch {
	case secretPath(l):
		return secretP
	case rulePath(l):
		return ruleP
	case strings.Contains(l, "://"):
		if strings.HasPrefix(l, "http") || strings.HasPrefix(l, "hxxp") || strings.HasPrefix(l, "ws") || strings.HasPrefix(l, "ftp") {
			return url
		}
		return 0
	case strings.HasPrefix(l, "www."):
		return url
	case isMail(l):
		return mail
	case strings.HasPrefix(l, "0x") && len(l) >= 8 && strings.Trim(l[2:], "0123456789abcdef") == "":
		return wallet
	case isAccount(w):
		return wallet
	case isPhone(l):
		return phone
	case isIP(l):
		return ip
	case l == "/dev/tcp" || strings.HasPrefix(l, "/dev/tcp/"):
		return shell
	case l == own && strings.ContainsAny(l, "_-."):
		return self
	case isName(w):
		for _, p := range []string{"secret", "password", "credential", "private_key", "apikey", "api_key"} {
			if strings.Contains(l, p) {
				return ident | secretN
			}
		}
		return ident
	}
	return 0
}

func secretPath(l string) bool {
	for _, p := range []string{".ssh", "id_rsa", "id_ed25519", "id_ecdsa", ".aws/", ".netrc", ".npmrc", ".pypirc", ".git-credentials", ".kube/config", ".docker/config.json",
		"/etc/passwd", "/etc/shadow", ".bash_history", ".zsh_history", "authorized_keys", "/mcp.json", "claude_desktop_config", ".gnupg", "wallet.dat", "login.keychain", "keychain-db",
		".config/gcloud", "credentials.json", "secrets.yaml", "secrets.yml", ".pgpass", "cookies.sqlite", "login data", ".azure/", ".vault-token", "/proc/self/environ", "sam.hive", ".env.local", ".env.production"} {
		if strings.Contains(l, p) {
			return true
		}
	}
	return l == ".env" || l == "mcp.json" || strings.HasSuffix(l, "/.env") || strings.HasSuffix(l, `\.env`)
}

func rulePath(l string) bool {
	for _, p := range []string{"claude.md", "agents.md", "gemini.md", ".cursorrules", ".cursor/rules", "copilot-instructions", ".windsurfrules", ".clinerules", ".vscode/settings.json", "settings.local.json", ".claude/settings", ".bashrc", ".zshrc", "crontab"} {
		if strings.Contains(l, p) {
			return true
		}
	}
	return false
}

func isMail(l string) bool {
	at := strings.IndexByte(l, '@')
	return at > 0 && strings.Count(l, "@") == 1 && strings.Contains(l[at:], ".") && len(l)-at > 4 && !strings.ContainsAny(l, "/:=")
}

// phoneAt returns the length of a telephone number at the beginning of text, 0
// where there is none: + and 8 to 15 digits, with spaces, hyphens and brackets.
func phoneAt(text []rune) int {
	if len(text) < 9 || text[0] != '+' {
		return 0
	}
	digits, end := 0, 0
	for i, r := range text[1:min(len(text), 26)] {
		switch {
		case r >= '0' && r <= '9':
			digits++
			end = i + 2
		case r == ' ' || r == '-' || r == '.' || r == '(' || r == ')':
		default:
			if digits < 8 {
				return 0
			}
			return end
		}
	}
	if digits < 8 || digits > 15 {
		return 0
	}
	return end
}

// isPhone reports a number written in one piece.
func isPhone(l string) bool {
	if l[0] != '+' {
		return false
	}
	digits := 0
	for _, r := range l[1:] {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r == '-' || r == '.':
		default:
			return false
		}
	}
	return digits >= 8 && digits <= 15
}

func isIP(l string) bool {
	host := l
	if i := strings.LastIndexByte(l, ':'); i > 0 && strings.Count(l, ":") == 1 {
		host = l[:i]
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Is4() && !a.IsLoopback() && !a.IsUnspecified()
}

// isAccount reports the form of an IBAN or of a base58 address.
func isAccount(w string) bool {
	if len(w) >= 15 && len(w) <= 34 && w[0] >= 'A' && w[0] <= 'Z' && w[1] >= 'A' && w[1] <= 'Z' && w[2] >= '0' && w[2] <= '9' && w[3] >= '0' && w[3] <= '9' {
		digits := 0
		for _, r := range w {
			if r >= '0' && r <= '9' {
				digits++
			} else if r < 'A' || r > 'Z' {
				return false
			}
		}
		return digits >= 10
	}
	return (strings.HasPrefix(w, "bc1q") || strings.HasPrefix(w, "bc1p")) && len(w) > 30
}

// isName reports what looks like the name of a tool: words joined by _ or in
// camelCase.
func isName(w string) bool {
	if len(w) > 64 || !unicode.IsLetter(rune(w[0])) {
		return false
	}
	joints, small := 0, false
	for _, r := range w {
		switch {
		case r == '_':
			joints++
		case r >= 'A' && r <= 'Z':
			if small {
				joints++
			}
			small = false
		case r >= 'a' && r <= 'z':
			small = true
		case r >= '0' && r <= '9':
		case r == '-' || r == '.':
		default:
			return false
		}
	}
	return joints > 0 && strings.ToUpper(w) != w
}

// poses returns the length of markup at the beginning of text that pretends to
// be a part of the prompt, 0 where there is none.
func poses(text []rune) int {
	head := strings.ToLower(string(text[:min(len(text), 40)]))
	for _, p := range []string{"<|im_start|>", "<|im_end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|endoftext|>", "<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>", "<start_of_turn>", "<s>[inst]", "[inst]", "[/inst]", "<<sys>>",
		"<system>", "</system>", "<system_prompt>", "<system-reminder>", "<system_instruction>", "<important>", "</important>", "<critical>", "<secret>", "<hidden>", "<instructions>", "<instruction>", "<admin>", "<override>", "<assistant>", "<developer>",
		"[system]", "[system ", "[system:", "[admin]", "[developer]", "[important]", "[hidden", "[instruction", "[override",
		"### system", "### instruction", "## system", "# system:", "###instruction"} {
		if strings.HasPrefix(head, p) {
			return len([]rune(p))
		}
	}
	return 0
}

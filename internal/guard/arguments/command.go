package arguments

import "strings"

// commandProblem says why a line that should hold one command is refused.
func commandProblem(s string) string {
	for _, v := range commandViews(s) {
		if strings.ContainsAny(v, "\n\r\x00") {
			return "has a line break: send one command on one line"
		}
		if i := strings.IndexAny(v, ";|&<>`"); i >= 0 {
			return "has " + v[i:i+1] + ", by which a shell does more than run one command: send one command without ; | & < > ` and $( )"
		}
		if strings.Contains(v, "$(") || strings.Contains(v, "${") || strings.Contains(v, "$'") || strings.Contains(v, "$\"") {
			return "has a $ that a shell replaces: write the value itself"
		}
	}
	return ""
}

// wordProblem says why a part of a command is refused. For a path, what a shell
// reads as itself in quotes may stand.
func wordProblem(s string, isPath bool) string {
	for _, v := range commandViews(s) {
		if strings.ContainsAny(v, "\n\r\x00") {
			return "has a line break, which ends a command: write it without"
		}
		if strings.Contains(v, "$(") || strings.Contains(v, "${") || strings.ContainsAny(v, "`;|<>") || !isPath && strings.ContainsAny(v, "&\"'\\*?(){}!") && strings.ContainsAny(v, "&\"'\\!") ||
			strings.Contains(v, "&&") {
			return "has signs by which a shell does more than it is asked: write the plain name, without ; | & < > ` $( and quotes"
		}
		if len(v) > 1 && v[0] == '-' && !number(v) {
			return "begins with -, so that a program would take it for an option: write the plain name"
		}
	}
	return ""
}

func number(s string) bool { return strings.Trim(s, "-0123456789.") == "" }

// commandViews are the readings of a command: shells do not decode percent signs
// or entities, and the programs that build a command may fold.
func commandViews(s string) []string {
	s = strings.TrimSpace(s)
	if f := folded(s); f != s {
		return []string{s, f}
	}
	return []string{s}
}

// shellProblem looks at a line that is meant for a shell, whose signs are its
// language: only for what hides what it does.
func shellProblem(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7F || unseen(r)
	}) {
		return "has characters that nobody sees: write the command without them"
	}
	low := strings.ToLower(s)
	if strings.Contains(low, "/dev/tcp/") || strings.Contains(low, "/dev/udp/") {
		return "opens a connection by /dev/tcp: use a program that says what it fetches"
	}
	fetched := false
	for part := range strings.SplitSeq(low, "|") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		first := words[0]
		if first == "sudo" && len(words) > 1 {
			first = words[1]
		}
		if i := strings.LastIndexByte(first, '/'); i >= 0 {
			first = first[i+1:]
		}
		if fetched && interpreter(first) {
			return "runs what it fetches or decodes without anybody having seen it: fetch to a file first"
		}
		fetched = fetched || strings.Contains(part, "curl ") || strings.Contains(part, "wget ") || strings.Contains(part, "base64 -d") || strings.Contains(part, "base64 --d") || strings.Contains(part, "xxd -r")
	}
	return ""
}

func interpreter(name string) bool {
	switch name {
	case "sh", "bash", "zsh", "dash", "ksh", "fish", "python", "python3", "perl", "ruby", "node", "php", "pwsh", "powershell", "iex", "invoke-expression":
		return true
	}
	return false
}

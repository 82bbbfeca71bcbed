package arguments

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// facts are what a tool's name and definition say of its arguments.
type facts struct {
	commands, sql, writes, mail, files bool
	// props are the schemas of the properties by their path.
	props map[string]prop

	mu    sync.RWMutex
	kinds map[string]Kind // by path, as they were asked for
}

type prop struct{ format, text string }

// Bounds of what is read of a definition.
const (
	maxProps = 500
	maxDepth = 8
)

// factsOf reads a definition; one that cannot be read says nothing, and names
// alone tell then.
func factsOf(tool string, definition []byte) *facts {
	f := &facts{props: map[string]prop{}, kinds: map[string]Kind{}}
	words := wordsOf(tool)
	text := ""
	if o, err := strictjson.SplitObject(definition); err == nil {
		text = textOf(o, "title") + " " + textOf(o, "description")
		if schema, ok := o.Get("inputSchema"); ok {
			f.read(schema, "", 0)
		}
	}
	low := strings.ToLower(text)
	f.sql = hasWord(low, "sql") || has(words, "sql", "sqlite", "postgres", "postgresql", "mysql", "mariadb", "duckdb", "bigquery", "snowflake", "clickhouse")
	f.writes = f.sql && has(words, "write", "insert", "update", "delete", "create", "alter", "drop", "migrate", "migration", "ddl", "dml", "modify")
	f.commands = !f.sql && (has(words, "exec", "shell", "command", "cmd", "bash", "terminal", "ping", "traceroute", "nslookup", "dig", "whois", "nmap", "curl", "wget", "ffmpeg", "docker", "kubectl", "git", "ssh", "scp", "rsync") ||
		runsCommands().MatchString(low))
	f.mail = has(words, "mail", "email", "send", "smtp", "message") || hasWord(low, "email") || hasWord(low, "e-mail")
	f.files = has(words, "file", "files", "directory", "folder", "copy", "move", "rename") || hasWord(low, "file") || hasWord(low, "files") || hasWord(low, "directory")
	return f
}

func runsCommands() *regexp.Regexp {
	return regexp.MustCompile(`\b(run|runs|execute|executes|spawn|spawns|invoke|invokes)\b[^.]{0,40}\b(command|commands|shell|subprocess|binary|cli)\b`)
}

func textOf(o strictjson.Object, name string) string {
	raw, ok := o.Get(name)
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeString || len(raw) > 16<<10 {
		return ""
	}
	s, err := strictjson.String(raw)
	if err != nil {
		return ""
	}
	return s
}

func (f *facts) read(schema []byte, at string, depth int) {
	if depth > maxDepth || strictjson.TypeOf(schema) != strictjson.TypeObject || len(f.props) >= maxProps {
		return
	}
	o, err := strictjson.SplitObject(schema)
	if err != nil {
		return
	}
	if at != "" {
		p := f.props[at]
		p.format, p.text = p.format+textOf(o, "format"), p.text+" "+strings.ToLower(textOf(o, "title")+" "+textOf(o, "description"))
		f.props[at] = p
	}
	for _, m := range o {
		switch m.Name {
		case "items":
			f.read(m.Raw, at, depth+1)
		case "anyOf", "oneOf", "allOf":
			if elems, err := strictjson.SplitArray(m.Raw); err == nil {
				for _, e := range elems {
					f.read(e, at, depth+1)
				}
			}
		case "properties":
			if props, err := strictjson.SplitObject(m.Raw); err == nil {
				for _, p := range props {
					f.read(p.Raw, strings.TrimPrefix(at+"."+p.Name, "."), depth+1)
				}
			}
		}
	}
}

// kindAt is the kind of the argument at a path, remembered.
func (f *facts) kindAt(at string) Kind {
	f.mu.RLock()
	k, known := f.kinds[at]
	f.mu.RUnlock()
	if known {
		return k
	}
	if at != "" {
		k = f.kind(strings.Split(at, "."))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.kinds) < maxProps && len(at) <= 256 {
		f.kinds[at] = k
	}
	return k
}

// kind says what an argument is used as, by the names from the outside in.
func (f *facts) kind(names []string) Kind {
	if len(names) == 0 {
		return 0
	}
	name := names[len(names)-1]
	words := wordsOf(name)
	last := ""
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	whole := strings.Join(words, "")
	p := f.props[strings.Join(names, ".")]
	var k Kind
	switch {
	case p.format == "uri" || p.format == "url" || p.format == "iri" || p.format == "uri-reference" || p.format == "iri-reference",
		has([]string{last}, "url", "uri", "urls", "uris", "href", "endpoint", "webhook", "callback"), has(words, "url", "uri") && last != "text":
		k |= URL
	case f.sql && has([]string{whole}, "query", "queries", "statement", "statements", "sql") || has(words, "sql") && !has(words, "dialect", "type", "server", "database", "mode", "id", "name"):
		k |= SQL
		if f.writes {
			k |= writes
		}
	case has([]string{whole}, "command", "cmd", "commandline", "shellcommand", "cmdline", "bash", "shellscript"):
		k |= shell
	case has(words, "path", "paths", "filepath", "filename", "filenames", "directory", "dir", "folder") && !has(words, "json", "xpath", "xml", "key", "field", "object", "query", "route", "css", "url", "class", "search", "property", "content", "contents", "id"),
		strings.HasSuffix(whole, "filename") || strings.HasSuffix(whole, "filepath") || strings.HasSuffix(whole, "foldername") || strings.HasSuffix(whole, "dirname"),
		has([]string{last}, "file", "files") && !has(words, "content", "contents", "text"),
		f.files && has([]string{whole}, "source", "destination", "src", "dst", "dest"):
		k |= Path
	}
	if f.commands && k&(shell|SQL) == 0 && (k != 0 || has([]string{last}, "host", "hostname", "ip", "address", "domain", "target", "branch", "ref", "tag", "remote", "revision", "commit", "container", "image", "pod", "namespace", "package", "interface")) {
		k |= Word
	}
	if has([]string{whole}, "header", "headers", "subject", "cc", "bcc", "replyto", "useragent", "referer", "cookie", "contenttype", "host", "hostname") || f.mail && has([]string{whole}, "to", "from", "recipient", "recipients", "sender") ||
		len(names) > 1 && slices.ContainsFunc(names[:len(names)-1], func(n string) bool { return strings.EqualFold(n, "headers") }) {
		k |= Header
	}
	if k == 0 && (has([]string{last}, "content", "contents", "text", "texts", "body", "message", "messages", "code", "snippet", "source", "script", "markdown", "html", "note", "notes", "comment", "comments", "description", "prompt",
		"query", "question", "summary", "title", "data", "input", "output", "diff", "patch", "edits", "old", "new", "template", "pattern", "regex", "regexp", "expression", "replacement", "replace", "search", "find", "css", "xml", "json", "yaml", "config",
		"value", "observation", "observations", "thought", "function", "element", "payload", "string", "str") || strings.Contains(p.text, "source code") || strings.Contains(p.text, "file content")) {
		k |= free
	}
	return k
}

// wordsOf takes a name apart: file_path, filePath, file-path and FILE_PATH are
// file and path.
func wordsOf(name string) []string {
	var words []string
	var cur []rune
	flush := func() {
		if len(cur) > 0 {
			words = append(words, strings.ToLower(string(cur)))
			cur = nil
		}
	}
	runes := []rune(folded(name))
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
			continue
		case unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]) && unicode.IsUpper(runes[i-1])):
			flush()
		}
		cur = append(cur, r)
	}
	flush()
	return words
}

func has(words []string, of ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(of, w) })
}

// hasWord reports a word in a text in lower case.
func hasWord(text, word string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return false
		}
		i += at
		end := i + len(word)
		if (i == 0 || !letter(text[i-1])) && (end == len(text) || !letter(text[end])) {
			return true
		}
		at = end
	}
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

package arguments

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// sqlProblem says why a statement is refused; empty if it is not. What could be
// read in two ways by two databases is refused, whichever of them is meant:
// comments that run, backslashes before quotes, dollar quotes, nested comments.
func sqlProblem(s string, mayWrite bool) string {
	tokens, why := lex(s)
	if why != "" {
		return why
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].text == ";" {
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 {
		return ""
	}
	for i, t := range tokens {
		if t.text == ";" {
			return "has more than one SQL statement: send one"
		}
		if i+1 < len(tokens) && tokens[i+1].text == "(" && (t.word && reaches(t.text) || reaches(t.name)) {
			return "calls a function by which SQL reaches files, other machines or the system: leave it out"
		}
		if t.word && pack(t.text) || t.name != "" && pack(t.name) {
			return "names a package by which SQL reaches files, other machines or the system: leave it out"
		}
		if t.word && (t.text == "outfile" || t.text == "dumpfile" || t.text == "xp_cmdshell") || t.text == "program" && i > 0 && (tokens[i-1].text == "to" || tokens[i-1].text == "from") {
			return "writes a file or runs a program: leave it out"
		}
	}
	if mayWrite {
		return ""
	}
	begin := 0
	for begin < len(tokens) && (tokens[begin].text == "(" || tokens[begin].text == "explain" || tokens[begin].text == "analyze" || tokens[begin].text == "verbose") {
		begin++
	}
	if begin == len(tokens) || !reads(tokens[begin].text) {
		return "is not an SQL statement that only reads: begin with SELECT, WITH, VALUES, SHOW, DESCRIBE or EXPLAIN, or ask the operator to let this tool write"
	}
	if tokens[begin].text == "pragma" {
		return pragma(tokens[begin+1:])
	}
	for i, t := range tokens {
		if t.word && writing(t.text) && (i == 0 || tokens[i-1].text != ".") && !(t.text == "replace" && i+1 < len(tokens) && tokens[i+1].text == "(") {
			return "has " + strings.ToUpper(t.text) + ", and only SQL that reads may pass: leave it out, or put a name in double quotes"
		}
	}
	return ""
}

func reads(word string) bool {
	switch word {
	case "select", "with", "values", "table", "show", "describe", "desc", "pragma":
		return true
	}
	return false
}

func writing(word string) bool {
	switch word {
	case "insert", "update", "delete", "merge", "drop", "alter", "create", "truncate", "grant", "revoke", "into", "attach", "detach",
		"exec", "execute", "call", "copy", "handler", "replace", "vacuum", "reindex", "lock", "unlock", "prepare", "deallocate", "upsert", "kill", "shutdown":
		return true
	}
	return false
}

// reaches reports functions that do more than read rows.
func reaches(name string) bool {
	switch name {
	case "pg_read_file", "pg_read_binary_file", "pg_ls_dir", "pg_stat_file", "pg_ls_logdir", "pg_ls_waldir", "pg_ls_tmpdir", "lo_import", "lo_export", "lo_put", "lo_from_bytea", "lowrite", "lo_unlink",
		"dblink", "dblink_exec", "dblink_connect", "dblink_send_query", "pg_sleep", "pg_sleep_for", "pg_sleep_until", "pg_terminate_backend", "pg_cancel_backend", "pg_reload_conf", "pg_rotate_logfile",
		"pg_file_write", "pg_execute_server_program", "set_config", "setval", "nextval", "pg_advisory_lock", "pg_advisory_xact_lock", "pg_notify", "query_to_xml", "query_to_xmlschema", "database_to_xml", "cursor_to_xml", "table_to_xml", "schema_to_xml",
		"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "load_file", "sleep", "benchmark", "get_lock", "sys_exec", "sys_eval", "sys_get", "sys_set",
		"openrowset", "opendatasource", "openquery", "xp_cmdshell", "xp_dirtree", "xp_fileexist", "sp_oacreate", "sp_executesql",
		"read_csv", "read_csv_auto", "read_parquet", "read_json", "read_json_auto", "read_text", "read_blob", "glob", "parquet_scan", "sniff_csv", "url", "file", "remote", "s3", "hdfs", "mysql", "postgresql", "executable":
		return true
	}
	return strings.HasPrefix(name, "xp_") || strings.HasPrefix(name, "sp_oa") || strings.HasPrefix(name, "httpuri")
}

// pack reports packages of Oracle whose functions reach out.
func pack(name string) bool {
	return strings.HasPrefix(name, "utl_") || strings.HasPrefix(name, "dbms_")
}

// pragma lets what SQLite's pragmas say about a schema pass, and no setting.
func pragma(rest []token) string {
	for _, t := range rest {
		if t.text == "=" {
			return "sets a pragma, and only SQL that reads may pass: leave it out"
		}
	}
	name := ""
	for i, t := range rest {
		if t.word && (i+1 == len(rest) || rest[i+1].text != ".") {
			name = t.text
			break
		}
	}
	switch name {
	case "table_info", "table_xinfo", "table_list", "index_info", "index_xinfo", "index_list", "foreign_key_list", "database_list", "collation_list", "function_list", "compile_options":
		return ""
	}
	return "is a pragma that may do more than read: ask for table_info, table_list, index_list or foreign_key_list"
}

// token is a word in lower case, or anything else as it stands; a quoted one is
// the quote.
type token struct {
	text string
	word bool
	name string // within double quotes, backticks or brackets, in lower case
}

const mangled = "has SQL that two databases would read differently (%s): write it without"

func lex(s string) (tokens []token, why string) {
	bad := func(what string) ([]token, string) { return nil, strings.Replace(mangled, "%s", what, 1) }
	for i := 0; i < len(s); {
		c := s[i]
		rest := s[i:]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case strings.HasPrefix(rest, "--"):
			if len(rest) > 2 && rest[2] != ' ' && rest[2] != '\t' && rest[2] != '\n' && rest[2] != '\r' {
				return bad("-- without a space behind it")
			}
			end := strings.IndexAny(rest, "\r\n")
			if end < 0 {
				end = len(rest)
			}
			i += end
		case c == '#':
			return bad("a #")
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			switch {
			case end < 0:
				return bad("a comment without its end")
			case strings.HasPrefix(rest, "/*!") || strings.HasPrefix(rest, "/*M!") || strings.HasPrefix(rest, "/*+"):
				return bad("a comment that runs")
			case strings.Contains(rest[2:2+end], "/*"):
				return bad("a comment in a comment")
			}
			i += end + 4
			tokens = append(tokens, token{text: " "})
		case c == '\'' || c == '"' || c == '`':
			n, ok := quoted(rest)
			if !ok {
				return bad("a quote without its end, or with a backslash before a quote")
			}
			if k := len(tokens); c != '`' && k > 1 && tokens[k-1].text == "&" && tokens[k-2].text == "u" {
				return bad("U&, which writes letters as numbers")
			}
			tokens = append(tokens, token{text: string(c), name: strings.ToLower(rest[1 : n-1])})
			i += n
		case c == '$':
			n := 1
			for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
				n++
			}
			if n == 1 {
				return bad("a dollar sign that is no parameter")
			}
			tokens = append(tokens, token{text: rest[:n]})
			i += n
		case c < ' ' || c == 0x7F || c == '\\':
			return bad("a control character or a backslash outside of quotes")
		default:
			n := wordLen(rest)
			if n > 0 {
				tokens = append(tokens, token{text: strings.ToLower(rest[:n]), word: true})
				i += n
				continue
			}
			if c >= utf8.RuneSelf {
				return bad("a sign that is no letter, outside of quotes")
			}
			tokens = append(tokens, token{text: rest[:1]})
			i++
		}
	}
	kept := tokens[:0]
	for _, t := range tokens {
		if t.text != " " {
			kept = append(kept, t)
		}
	}
	return kept, ""
}

// quoted is how long a quoted text is, with its quotes; a doubled quote stands
// for one.
func quoted(s string) (int, bool) {
	q := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == q || s[i+1] == '\\' && endsRun(s[i:], q)):
			return 0, false
		case s[i] != q:
		case i+1 < len(s) && s[i+1] == q:
			i++
		default:
			return i + 1, true
		}
	}
	return 0, false
}

// endsRun reports backslashes that stand before a quote.
func endsRun(s string, q byte) bool {
	rest := strings.TrimLeft(s, `\`)
	return rest != "" && rest[0] == q
}

func wordLen(s string) int {
	n := 0
	for i, r := range s {
		if !(r == '_' || r < utf8.RuneSelf && (unicode.IsLetter(r) || i > 0 && unicode.IsDigit(r)) || r >= utf8.RuneSelf && unicode.IsLetter(r) || i > 0 && r == '$') {
			break
		}
		n = i + utf8.RuneLen(r)
	}
	if n == 0 && s[0] >= '0' && s[0] <= '9' {
		for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '.' || s[n] == '_') {
			n++
		}
	}
	return n
}

package arguments

import (
	"strings"
	"unicode/utf8"
)

// templateProblem says why a text is refused that a template engine must not run.
func templateProblem(s string) string {
	for _, v := range viewsOf(s) {
		for _, open := range []string{"{{", "{%", "{#", "${", "#{", "*{", "<%", "<#", "[[${", "@{", "#set("} {
			if strings.Contains(v, open) {
				return "has " + open + ", which a template engine would run: write the value itself"
			}
		}
	}
	return ""
}

// exploits are what expressions of template engines hold when they are after the
// machine, by what opens the expression.
func exploits() map[string][]string {
	python := []string{"__class__", "__mro__", "__subclasses__", "__globals__", "__builtins__", "__import__", "__init__", "|attr(", "request.application", "cycler.", "lipsum."}
	java := []string{"jndi:", "getclass(", ".getclass", "java.lang.", "runtime.getruntime", "processbuilder", "t(java", "freemarker.template", "?new()", "@java.", "classloader"}
	web := []string{"system(", "`", "exec(", "runtime.", "require('child", "require(\"child", "process.mainmodule", "constructor.constructor", "constructor("}
	return map[string][]string{"{{": append(append([]string{}, python...), web...), "{%": append(append([]string{}, python...), "import "), "${": append(append([]string{}, java...), web...),
		"#{": append(append([]string{}, java...), web...), "*{": java, "<%": append(append([]string{}, web...), java...), "<#": {"?new()", "freemarker."}, "@{": java, "#set(": java}
}

// exploitProblem looks for expressions that are after the machine in any text
// that is a value rather than a document.
func exploitProblem(s string) string {
	if len(s) > 8<<10 || !strings.ContainsAny(s, "{<#%&\\") && !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return ""
	}
	const why = "has an expression by which template engines are made to run code: write the value itself"
	for _, v := range viewsOf(s) {
		low := strings.ToLower(v)
		for open, marks := range exploits() {
			i := strings.Index(low, open)
			if i < 0 {
				continue
			}
			for _, m := range marks {
				if strings.Contains(low[i:], m) {
					return why
				}
			}
		}
		if nestedLookup(low) {
			return why
		}
	}
	return ""
}

// nestedLookup finds ${${…:-j}ndi: and its like.
func nestedLookup(low string) bool {
	i := strings.Index(low, "${")
	if i < 0 {
		return false
	}
	inner := strings.Index(low[i+2:], "${")
	return inner >= 0 && (strings.Contains(low[i:], ":-") || strings.Contains(low[i:], "lower:") || strings.Contains(low[i:], "upper:") || strings.Contains(low[i:], "env:"))
}

// headerProblem says why a line of a protocol is refused.
func headerProblem(s string) string {
	for _, v := range viewsOf(s) {
		if strings.ContainsAny(strings.TrimRight(v, "\n"), "\r\n\x00") || strings.ContainsAny(v, "\r\x00\u2028\u2029\u0085") || strings.Contains(v, "\u560A") && strings.Contains(v, "\u560D") {
			return "has a line break, by which one line of a protocol becomes two: write it on one line"
		}
	}
	return ""
}

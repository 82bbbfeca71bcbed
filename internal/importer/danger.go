package importer

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/config"
)

// Danger is something in a server's entry that its reader should see.
type Danger struct {
	// Code is stable and in kebab case.
	Code string `json:"code"`
	// Text says what it is, without line breaks or hidden characters.
	Text string `json:"text"`
}

// dangers lists what can be seen in an entry. It looks through programs that
// only start others (env, sudo, cmd /c, timeout).
func dangers(s *Server, home string) []Danger {
	d := &finder{home: home, cwd: s.Cwd}
	if s.Stdio() {
		words := make([]string, len(s.Command))
		for i, v := range s.Command {
			words[i] = v.String()
		}
		d.command(words)
		d.texts(words)
		for i, v := range s.Command {
			if v.IsSecret() {
				d.add("secret-argument", "argument %d comes from the environment, and other programs of this machine can read it while the server runs", i)
			}
		}
		if strings.ContainsAny(words[0], " \t\n") && len(words) == 1 {
			d.add("whole-line", "the command is one word with spaces in it; write program and arguments apart if the client's shell did so")
		}
		for _, e := range s.Env {
			d.variable(e.Name, e.Value)
		}
		d.own("env ", s.Env)
	} else {
		d.url(s.URL)
	}
	for i, v := range s.Command {
		d.ownValue(fmt.Sprintf("argument %d", i), v)
	}
	d.ownValue("the url", s.URL)
	for _, h := range s.Headers {
		d.ownValue("the header "+h.Name, h.Value)
	}
	return d.list
}

type finder struct {
	home, cwd string
	list      []Danger
}

func (d *finder) add(code, format string, args ...any) {
	found := Danger{code, fmt.Sprintf(format, args...)}
	if !slices.Contains(d.list, found) {
		d.list = append(d.list, found)
	}
}

// own lists the operator's own variables that a server would get.
func (d *finder) own(what string, env []config.EnvVar) {
	for _, e := range env {
		d.ownValue(what+e.Name, e.Value)
	}
}

func (d *finder) ownValue(what string, v config.Value) {
	if v.Secret.Scheme() == secret.SchemeEnv && v.IsSecret() && !strings.HasPrefix(v.Secret.Name(), ownPrefix) {
		d.add("own-variable", "%s is given your own environment variable %s", what, show(v.Secret.Name()))
	}
}

// command looks at a program with its arguments.
func (d *finder) command(words []string) {
	for depth := 0; len(words) > 0 && depth < 8; depth++ {
		name := programName(words[0])
		args := words[1:]
		if strings.HasPrefix(words[0], "./") || strings.HasPrefix(words[0], "../") || strings.HasPrefix(words[0], `.\`) {
			d.add("project-file", "runs a file of the folder that it starts in (%s), which whoever wrote that folder can change", show(words[0]))
		}
		if temporary(words[0]) {
			d.add("temporary-folder", "runs a program from a folder that others can write to (%s)", show(words[0]))
		}
		inner, ok := d.starter(name, args)
		if !ok {
			d.program(name, args)
			return
		}
		words = inner
	}
}

// starter knows the programs that start another one, and returns that one.
func (d *finder) starter(name string, args []string) (inner []string, ok bool) {
	switch name {
	case "sudo", "doas", "pkexec", "runas", "su", "gsudo":
		d.add("elevates", "runs as another user (%s)", name)
		return afterOptions(args, "-u", "-g", "-U", "-p", "-C", "-h"), true
	case "env":
		for i, a := range args {
			switch {
			case a == "-S" || a == "--split-string" || strings.HasPrefix(a, "-S") && len(a) > 2 || strings.HasPrefix(a, "--split-string="):
				d.add("shell", "env -S parts a text into a command, here %s", show(strings.Join(args[i:], " ")))
				return strings.Fields(strings.TrimPrefix(strings.TrimPrefix(strings.Join(args[i:], " "), "--split-string="), "-S")), true
			case strings.HasPrefix(a, "-"):
			case strings.Contains(a, "="):
				key, value, _ := strings.Cut(a, "=")
				d.variable(key, config.Value{Text: value})
			default:
				return args[i:], true
			}
		}
		return nil, true
	case "nice", "nohup", "timeout", "stdbuf", "setsid", "ionice", "time", "xvfb-run", "dotenv", "envmcp", "dbus-run-session", "caffeinate", "winpty":
		rest := afterOptions(args, "-n", "-s", "-k", "-o", "-i", "-e", "-c", "-p")
		if name == "timeout" && len(rest) > 0 {
			rest = rest[1:]
		}
		return rest, true
	case "cmd":
		for i, a := range args {
			if strings.EqualFold(a, "/c") || strings.EqualFold(a, "/k") || strings.EqualFold(a, "/s") {
				continue
			}
			d.add("shell", "a shell reads the command line (cmd /c)")
			return args[i:], true
		}
		return nil, true
	}
	return nil, false
}

// afterOptions skips options, and the values of those that have one.
func afterOptions(args []string, valued ...string) []string {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--":
			return args[i+1:]
		case slices.Contains(valued, args[i]):
			i++
		case !strings.HasPrefix(args[i], "-") && !strings.Contains(args[i], "="):
			return args[i:]
		}
	}
	return nil
}

func programName(word string) string {
	name := word[strings.LastIndexAny(word, `/\`)+1:]
	name = strings.ToLower(name)
	for _, ext := range []string{".exe", ".cmd", ".bat", ".com", ".ps1", ".sh"} {
		name = strings.TrimSuffix(name, ext)
	}
	return name
}

func (d *finder) program(name string, args []string) {
	switch {
	case shell(name):
		d.shell(name, args)
	case name == "npx", name == "bunx", name == "pnpx", name == "yarnpkg", name == "uvx", name == "pipx", name == "pnpm", name == "yarn",
		name == "npm", name == "uv", name == "bun", name == "go", name == "cargo", name == "deno", name == "gem", name == "dnx", name == "jbang":
		d.fetched(name, args)
	case name == "docker", name == "podman", name == "nerdctl", name == "finch", name == "container":
		d.container(name, args)
	}
	d.interpreter(name, args)
	switch name {
	case "nc", "ncat", "netcat", "socat", "telnet", "ssh", "scp", "sftp", "curl", "wget", "ngrok", "cloudflared":
		d.add("network-program", "%s talks to the network by itself", name)
	case "rm", "dd", "mkfs", "shred", "chmod", "chown", "kill", "launchctl", "systemctl", "crontab", "reg", "schtasks", "osascript", "open", "xdg-open":
		d.add("not-a-server", "%s changes this machine; no MCP server is started by it", name)
	}
}

func shell(name string) bool {
	switch name {
	case "sh", "bash", "zsh", "dash", "ksh", "fish", "csh", "tcsh", "ash", "busybox", "pwsh", "powershell", "wsl", "nu", "xonsh", "elvish":
		return true
	}
	return false
}

func (d *finder) shell(name string, args []string) {
	for i, a := range args {
		lower := strings.ToLower(a)
		short := strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.Contains(a, "c") && len(a) <= 6
		if short || lower == "-command" || lower == "--command" || strings.HasPrefix(lower, "-enc") || lower == "/c" {
			text := ""
			if i+1 < len(args) {
				text = strings.Join(args[i+1:], " ")
			}
			d.add("shell", "%s runs a text as a program: %s", name, show(text))
			if strings.HasPrefix(lower, "-enc") {
				d.add("encoded", "the text is encoded, so that nobody can read what it does")
			}
			return
		}
	}
	d.add("shell", "a shell (%s) decides what runs", name)
}

// interpreter looks for programs that are given on the command line.
func (d *finder) interpreter(name string, args []string) {
	var inline, preload []string
	switch {
	case name == "node", name == "bun", name == "deno", name == "tsx", name == "ts-node":
		inline, preload = []string{"-e", "--eval", "-p", "--print", "eval"}, []string{"-r", "--require", "--import", "--loader", "--experimental-loader"}
	case strings.HasPrefix(name, "python"), name == "pypy", name == "py":
		inline = []string{"-c"}
		if slices.Contains(args, "-m") && d.cwd != "" {
			d.add("project-file", "%s -m looks for the module in the folder that it starts in first", name)
		}
	case name == "perl", name == "ruby", name == "lua", name == "osascript", name == "rscript":
		inline = []string{"-e", "-E"}
	case name == "php":
		inline = []string{"-r"}
	case name == "java":
		preload = []string{"-javaagent"}
	default:
		return
	}
	for _, a := range args {
		flag, _, _ := strings.Cut(a, "=")
		switch {
		case slices.Contains(inline, flag):
			d.add("inline-program", "%s runs a program that stands in the command line", name)
		case slices.Contains(preload, flag), name == "java" && strings.HasPrefix(a, "-javaagent"):
			d.add("preload", "%s loads another program first (%s)", name, show(a))
		}
	}
	for _, a := range args {
		if !strings.HasPrefix(a, "-") && sourceFile(a) && !strings.Contains(a, "://") && d.ofProject(a) {
			d.add("project-file", "runs a file of the folder that it starts in (%s), which whoever wrote that folder can change", show(a))
			return
		}
	}
}

// ofProject reports whether a path is within the folder that the server starts
// in.
func (d *finder) ofProject(path string) bool {
	if !filepath.IsAbs(path) {
		return !windowsPath(path)
	}
	return d.cwd != "" && strings.HasPrefix(filepath.Clean(path), strings.TrimRight(d.cwd, string(filepath.Separator))+string(filepath.Separator))
}

func sourceFile(a string) bool {
	for _, ext := range []string{".js", ".mjs", ".cjs", ".ts", ".mts", ".py", ".rb", ".pl", ".php", ".lua", ".jar", ".sh", ".ps1"} {
		if strings.HasSuffix(strings.ToLower(a), ext) {
			return true
		}
	}
	return false
}

func windowsPath(a string) bool {
	return len(a) > 2 && a[1] == ':' && (a[2] == '\\' || a[2] == '/')
}

func temporary(word string) bool {
	for _, dir := range []string{"/tmp/", "/var/tmp/", "/dev/shm/", `\temp\`, `\tmp\`, "/private/tmp/"} {
		if strings.Contains(strings.ToLower(word), dir) {
			return true
		}
	}
	return false
}

// What in a text means that something is fetched and run at once.
var piped = regexp.MustCompile(`(?is)\b(curl|wget|fetch|iwr|irm|invoke-webrequest|invoke-restmethod)\b.*(\||;|&&|\$\(|` + "`" + `)|(\$\(|` + "`" + `|<\()\s*(curl|wget)\b|\|\s*(sudo\s+)?(ba|z|da|k)?sh\b|\|\s*(iex|invoke-expression|python[0-9.]*|node|perl|ruby)\b|base64\s+(-d|-D|--decode)`)

// texts looks at all words whatever the program is.
func (d *finder) texts(words []string) {
	for i, w := range words {
		if strings.ContainsFunc(w, config.Hidden) {
			d.add("hidden-characters", "word %d holds characters that do not show, written here as \\u{…}", i)
		}
		if i == 0 && !ascii(w) {
			d.add("foreign-letters", "the program's name holds letters that can look like others")
		}
		if piped.MatchString(w) {
			d.add("fetch-and-run", "word %d fetches something and runs it", i)
		}
		for _, part := range strings.FieldsFunc(w, func(r rune) bool { return strings.ContainsRune(" =:,;'\"", r) }) {
			d.path(part)
		}
	}
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// path looks at a path that a server is given.
func (d *finder) path(p string) {
	slashed := strings.ReplaceAll(p, `\`, "/")
	lower := strings.ToLower(slashed)
	for _, name := range []string{".ssh", ".aws", ".gnupg", ".kube", ".azure", ".docker", ".netrc", ".npmrc", ".pypirc", ".password-store", ".git-credentials", "id_rsa", "id_ed25519"} {
		for _, part := range strings.Split(lower, "/") {
			if part == name {
				d.add("secrets-folder", "names %s, where secrets are kept", show(p))
			}
		}
	}
	for _, name := range []string{"/etc/shadow", "/etc/passwd", "/etc/sudoers", "/.config/gcloud", "/.config/gh", "docker.sock", "/library/keychains", "/.mozilla", "/google/chrome", "/proc/self/environ"} {
		if strings.Contains(lower, name) {
			d.add("secrets-folder", "names %s, where secrets are kept", show(p))
		}
	}
	clean := strings.TrimRight(slashed, "/")
	switch {
	case slashed == "/" || windowsRoot(slashed):
		d.add("whole-disk", "is given the whole disk (%s)", show(p))
	case clean == "~" || clean == "$HOME" || clean == "${HOME}" || d.home != "" && clean == strings.TrimRight(strings.ReplaceAll(d.home, `\`, "/"), "/"):
		d.add("home-folder", "is given the whole home folder (%s)", show(p))
	}
}

func windowsRoot(p string) bool {
	return len(p) >= 2 && len(p) <= 3 && p[1] == ':' && strings.TrimRight(p[2:], "/") == "" && (p[0]|0x20) >= 'a' && (p[0]|0x20) <= 'z'
}

// variable looks at a variable that changes what programs load or trust.
func (d *finder) variable(name string, v config.Value) {
	upper := strings.ToUpper(name)
	switch {
	case strings.HasPrefix(upper, "LD_"), strings.HasPrefix(upper, "DYLD_"), strings.HasPrefix(upper, "BASH_FUNC"),
		slices.Contains([]string{"NODE_OPTIONS", "NODE_PATH", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONINSPECT", "PERL5OPT", "PERL5LIB", "RUBYOPT", "RUBYLIB",
			"BASH_ENV", "ENV", "ZDOTDIR", "PROMPT_COMMAND", "IFS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "GCONV_PATH",
			"ELECTRON_RUN_AS_NODE", "DOTNET_STARTUP_HOOKS", "PATH", "COMSPEC", "SHELL", "EDITOR", "PAGER"}, upper):
		d.add("loader-variable", "sets %s, which decides what programs load or run", show(name))
	case strings.HasPrefix(upper, "GIT_"), upper == "RUSTC_WRAPPER", strings.HasPrefix(upper, "CARGO_"), upper == "GOFLAGS", upper == "MAKEFLAGS":
		d.add("loader-variable", "sets %s, which can make other programs run", show(name))
	case strings.HasPrefix(upper, "NPM_CONFIG_"), strings.HasPrefix(upper, "PIP_"), strings.HasPrefix(upper, "UV_"), strings.HasPrefix(upper, "YARN_"),
		upper == "GOPROXY", upper == "GONOSUMDB", upper == "GONOSUMCHECK", upper == "GOINSECURE", upper == "BUN_CONFIG_REGISTRY":
		d.add("package-source", "sets %s, which decides where packages come from", show(name))
	case slices.Contains([]string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NODE_TLS_REJECT_UNAUTHORIZED", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PYTHONHTTPSVERIFY", "GIT_SSL_NO_VERIFY"}, upper):
		d.add("trust-variable", "sets %s, which decides whom programs trust on the network", show(name))
	}
	if strings.ContainsFunc(v.Text, config.Hidden) && !strings.Contains(v.Text, "-----BEGIN") {
		d.add("hidden-characters", "the variable %s holds characters that do not show, written here as \\u{…}", show(name))
	}
	for _, part := range strings.FieldsFunc(v.Text, func(r rune) bool { return strings.ContainsRune(" =:,;", r) }) {
		d.path(part)
	}
}

// url looks at where a server is reached.
func (d *finder) url(v config.Value) {
	text := v.Text
	if strings.ContainsFunc(text, config.Hidden) || !ascii(text) {
		d.add("hidden-characters", "the url holds characters that do not show or can look like others")
	}
	u, err := url.Parse(text)
	if err != nil {
		return
	}
	host := strings.ToLower(u.Hostname())
	switch _, err := netip.ParseAddr(host); {
	case config.Loopback(host):
		d.add("local-server", "is a server on this machine; whatever listens on %s gets what is sent", show(u.Host))
	case err == nil:
		d.add("address", "is named by an address (%s), not by a name that a certificate is usually for", show(u.Host))
	case strings.Contains(host, "xn--"):
		d.add("foreign-letters", "the host %s is written in letters that can look like others", show(u.Host))
	}
	if u.Scheme == "http" && !config.Loopback(host) {
		d.add("plain-http", "is reached without encryption")
	}
}

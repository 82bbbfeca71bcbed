package importer

import (
	"regexp"
	"slices"
	"strings"
)

// fetched looks at programs that fetch a package and run it.
func (d *finder) fetched(name string, args []string) {
	run, valued := args, []string{}
	switch name {
	case "npm", "pnpm", "yarn", "yarnpkg", "bun":
		if len(args) == 0 || !slices.Contains([]string{"exec", "x", "dlx", "create", "init"}, args[0]) {
			return
		}
		run = args[1:]
		d.npm(name, run)
		return
	case "npx", "bunx", "pnpx":
		d.npm(name, run)
		return
	case "uv":
		args = afterOptions(args, "--directory", "--project", "--python", "-p", "--cache-dir", "--config-file", "--color")
		switch {
		case len(args) > 1 && args[0] == "tool" && args[1] == "run":
			run = args[2:]
		case len(args) > 0 && args[0] == "x":
			run = args[1:]
		case len(args) > 0 && args[0] == "run":
			d.uvRun(args[1:])
			return
		default:
			return
		}
		d.python(run)
		return
	case "uvx":
		d.python(run)
		return
	case "pipx":
		if len(args) == 0 || args[0] != "run" {
			return
		}
		d.python(args[1:])
		return
	case "go", "cargo", "gem", "dnx", "jbang", "deno":
		rest := afterOptions(args, valued...)
		for _, a := range rest {
			if strings.HasPrefix(a, "http://") || strings.HasPrefix(a, "https://") || strings.HasPrefix(a, "npm:") || strings.HasPrefix(a, "jsr:") || strings.Contains(a, "@latest") || name == "dnx" {
				d.add("fetched-program", "%s fetches a program from the network and runs it (%s)", name, show(a))
				return
			}
		}
	}
}

// What a version that cannot change looks like.
var exactVersion = regexp.MustCompile(`^v?[0-9]+\.[0-9]+(\.[0-9]+)*([-+.][0-9A-Za-z.+-]+)?$`)

// npm finds the packages that npx and its like would run.
func (d *finder) npm(name string, args []string) {
	var packages []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		flag, value, has := strings.Cut(a, "=")
		switch {
		case flag == "-p" || flag == "--package":
			if !has && i+1 < len(args) {
				i++
				value = args[i]
			}
			packages = append(packages, value)
		case flag == "-c" || flag == "--call":
			d.add("shell", "%s runs a text as a program", name)
			if !has {
				i++
			}
		case flag == "--registry":
			d.add("package-source", "%s fetches from a registry that the command line names", name)
			if !has {
				i++
			}
		case strings.HasPrefix(a, "-") && a != "--":
		case a == "--" && len(packages) > 0:
			i = len(args)
		case a == "--":
		default:
			if len(packages) == 0 {
				packages = append(packages, a)
			}
			i = len(args)
		}
	}
	for _, p := range packages {
		d.npmPackage(name, p)
	}
}

func (d *finder) npmPackage(name, p string) {
	switch at := strings.LastIndexByte(p, '@'); {
	case strings.Contains(p, "://"), strings.HasPrefix(p, "git"), strings.HasPrefix(p, "file:"), strings.HasPrefix(p, "./"), strings.HasPrefix(p, "../"), strings.HasPrefix(p, "/"),
		!strings.HasPrefix(p, "@") && strings.Contains(p, "/"), strings.HasPrefix(p, "github:"):
		d.add("fetched-program", "%s runs code that is in no registry (%s)", name, show(p))
	case at <= 0 || !exactVersion.MatchString(p[at+1:]):
		d.add("unpinned-package", "%s runs whatever version of %s is the newest when it starts", name, show(p))
	default:
		d.add("fetched-package", "%s fetches %s and runs it", name, show(p))
	}
}

// python finds the packages that uvx and its like would run.
func (d *finder) python(args []string) {
	from := ""
	for i := 0; i < len(args); i++ {
		a := args[i]
		flag, value, has := strings.Cut(a, "=")
		if strings.HasPrefix(a, "--") && (flag == "--from" || flag == "--with" || flag == "--spec" || flag == "--index" || flag == "--index-url" || flag == "--extra-index-url" || flag == "--default-index" || flag == "--python") || a == "-p" || a == "-i" || a == "-w" {
			if !has && i+1 < len(args) {
				i++
				value = args[i]
			}
			switch {
			case flag == "--from" || flag == "--spec":
				from = value
			case flag == "--with" || a == "-w":
				d.pythonPackage(value)
			case flag != "--python" && a != "-p":
				d.add("package-source", "packages come from an index that the command line names")
			}
			continue
		}
		if strings.HasPrefix(a, "-") {
			continue
		}
		if from == "" {
			from = a
		}
		break
	}
	if from != "" {
		d.pythonPackage(from)
	}
}

func (d *finder) uvRun(args []string) {
	for i := 0; i < len(args); i++ {
		flag, value, has := strings.Cut(args[i], "=")
		switch {
		case flag == "--with" || flag == "--with-requirements":
			if !has && i+1 < len(args) {
				i++
				value = args[i]
			}
			d.pythonPackage(value)
		case flag == "--directory" || flag == "--project" || flag == "--python" || flag == "-p":
			if !has {
				i++
			}
		case strings.HasPrefix(args[i], "-"):
		default:
			if sourceFile(args[i]) && !strings.HasPrefix(args[i], "/") {
				d.add("project-file", "runs a file of the folder that it starts in (%s), which whoever wrote that folder can change", show(args[i]))
			}
			return
		}
	}
}

// A Git reference that cannot move.
var exactCommit = regexp.MustCompile(`@[0-9a-f]{40}(#.*)?$`)

func (d *finder) pythonPackage(p string) {
	switch {
	case strings.Contains(p, "://") || strings.HasPrefix(p, "git+"):
		if exactCommit.MatchString(p) {
			d.add("fetched-program", "fetches one commit of a repository and runs it (%s)", show(p))
			return
		}
		d.add("fetched-program", "runs whatever a repository or a page holds when it starts (%s)", show(p))
	case strings.HasPrefix(p, ".") || strings.HasPrefix(p, "/"):
		d.add("project-file", "runs a package of a folder (%s), which whoever wrote that folder can change", show(p))
	default:
		name, version, ok := strings.Cut(p, "==")
		if !ok {
			name, version, ok = strings.Cut(p, "@")
		}
		if !ok || !exactVersion.MatchString(version) {
			d.add("unpinned-package", "runs whatever version of %s is the newest when it starts", show(name))
			return
		}
		d.add("fetched-package", "fetches %s and runs it", show(p))
	}
}

// container looks at what a container is let out of.
func (d *finder) container(name string, args []string) {
	if len(args) == 0 {
		return
	}
	if args[0] == "compose" || args[0] == "exec" || args[0] == "build" {
		d.add("container", "%s %s starts what other files say", name, args[0])
		return
	}
	at := slices.Index(args, "run")
	if at < 0 {
		return
	}
	image := ""
	rest := args[at+1:]
	for i := 0; i < len(rest) && image == ""; i++ {
		flag, value, has := strings.Cut(rest[i], "=")
		if !strings.HasPrefix(flag, "-") {
			image = rest[i]
			break
		}
		if !has && takesValue(flag) && i+1 < len(rest) {
			i++
			value = rest[i]
		}
		d.option(flag, value)
	}
	if image != "" && !strings.Contains(image, "@sha256:") {
		d.add("unpinned-image", "runs whatever image %s is when it starts", show(image))
	}
}

func takesValue(flag string) bool {
	return slices.Contains([]string{"-v", "--volume", "--mount", "-e", "--env", "--env-file", "-p", "--publish", "--name", "--network", "--net", "-w", "--workdir", "-u", "--user",
		"--cap-add", "--cap-drop", "--device", "--pid", "--ipc", "--uts", "--userns", "--security-opt", "--entrypoint", "-h", "--hostname", "--add-host", "-m", "--memory", "--cpus",
		"--platform", "--pull", "-l", "--label", "--tmpfs", "--ulimit", "--dns", "--volumes-from", "--cgroupns", "--runtime", "--restart", "--log-driver", "--gpus", "--shm-size"}, flag)
}

func (d *finder) option(flag, value string) {
	switch flag {
	case "--privileged":
		d.add("container-open", "the container has all rights on this machine (--privileged)")
	case "-v", "--volume", "--mount":
		d.add("container-mount", "the container sees a folder of this machine (%s)", show(value))
	case "--network", "--net", "--pid", "--ipc", "--uts", "--userns":
		if strings.HasPrefix(value, "host") {
			d.add("container-open", "the container shares this machine's own (%s host)", flag)
		}
	case "--cap-add", "--device", "--security-opt", "--volumes-from", "--runtime", "--gpus":
		d.add("container-open", "the container gets more than others (%s %s)", flag, show(value))
	case "--entrypoint":
		d.add("inline-program", "the container starts another program than its own (%s)", show(value))
	}
}

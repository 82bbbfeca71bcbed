package poisoning

// A rule gives weight to one thing that poisoned definitions say to a model.
// Weights are probabilities that are joined as independent evidence; nothing
// takes weight away, so a text never gets better by adding to it.
type rule struct {
	reason string
	weigh  func(s *segment) float64
}

// rulesOf are all rules about words. They look at one segment and see the
// meanings of its words, whatever the language.
func rulesOf() []rule {
	return []rule{
		{"hides-from-user", hidesFromUser},
		{"reads-secrets", readsSecrets},
		{"takes-conversation", takesConversation},
		{"takes-secrets", takesSecrets},
		{"sends-away", sendsAway},
		{"redirects", redirects},
		{"replaces-tools", replacesTools},
		{"steers-tools", steersTools},
		{"demands-first", demandsFirst},
		{"poses-as-system", posesAsSystem},
		{"overrides-rules", overridesRules},
		{"runs-commands", runsCommands},
		{"skips-consent", skipsConsent},
		{"persists", persists},
		{"tampers", tampers},
		{"presses", presses},
	}
}

func hidesFromUser(s *segment) float64 {
	switch {
	case s.chain(not, tell, user, 5), s.chain(not, user, tell, 5), s.chain(user, not, tell, 5):
		return 0.6
	case s.near(covert, user, 4) && s.in&(not|tell) != 0, s.near(covert, user, 4) && s.says("keep", "keeps", "remain", "remains", "stay", "stays"):
		return 0.6
	case s.near(user, covert, 3) && s.says("unaware"), s.says("nobody") && s.says("know", "notice", "learn"):
		return 0.55
	case s.in&covert != 0 && s.says("quiet", "nothing") && s.in&(not|user|this|tool) != 0:
		return 0.5
	case s.around(covert, pass|send|read|run, 6) && s.in&(must|model|secretP|secretN|talk|param) != 0 && s.ordered(pass|send|read|run):
		return 0.35
	}
	for i, t := range s.tokens {
		if t.is&not != 0 && i+1 < len(s.tokens) {
			switch s.tokens[i+1].text {
			case "mention", "disclose", "reveal", "tell":
				return 0.45
			}
		}
	}
	return 0
}

func readsSecrets(s *segment) float64 {
	if s.in&secretP == 0 {
		return 0
	}
	w := 0.15
	if s.around(read|run, secretP, 8) && s.ordered(read|run) {
		w = 0.35
		if s.in&(must|before|model|talk) != 0 {
			w = 0.65
		}
	}
	if s.around(pass|send, secretP, 12) && s.ordered(pass|send) {
		w = max(w, 0.4)
		if s.in&(param|data|must|talk) != 0 && s.in&read != 0 {
			w = max(w, 0.7)
		}
		if s.in&(param|data|must|talk|url|mail|ip) != 0 {
			w = max(w, 0.55)
		}
	}
	return w
}

func takesConversation(s *segment) float64 {
	if s.in&talk == 0 {
		return 0
	}
	if (!s.around(pass|send, talk, 9) || !s.ordered(pass|send)) && !(s.near(use, talk, 8) && s.has(this, every)) {
		return 0
	}
	w := 0.25
	if s.near(prior, talk, 2) && s.says("your") || s.says("given") {
		w += 0.15
	}
	if s.in&every != 0 {
		w += 0.1
	}
	if s.in&param != 0 {
		w += 0.1
	}
	if s.in&must != 0 || s.in&before != 0 && s.in&tool != 0 {
		w += 0.2
	}
	if s.in&(url|mail|ip) != 0 {
		w += 0.3
	}
	return w
}

func takesSecrets(s *segment) float64 {
	if s.in&secretN == 0 {
		return 0
	}
	if (!s.around(pass|send|read, secretN, 8) || !s.ordered(pass|send|read)) && (s.in&(model|consent) == 0 || s.in&(must|fails|consent) == 0) {
		return 0
	}
	w := 0.0
	if s.near(every, secretN, 3) {
		w += 0.15
	}
	if s.in&(url|mail|ip) != 0 && s.in&send != 0 {
		w += 0.4
	}
	if s.in&talk != 0 || s.near(user, secretN, 4) && s.has(must) {
		w += 0.15
	}
	asks := s.in&(pass|send|read|change) != 0
	if s.near(model, must|pass|send|read|not, 6) && s.has(must) && asks {
		w += 0.5
	}
	if s.near(model, secretN, 8) && s.has(fails) {
		w = max(w, 0.45)
	}
	if s.has(consent) && s.says("authorised", "authorized", "agreed", "approved") && s.in&(this|model) != 0 && asks {
		w += 0.4
	}
	if s.has(pass, param, must) && s.in&(every|user) != 0 {
		w += 0.1
	}
	return min(w, 0.9)
}

func sendsAway(s *segment) float64 {
	to := url | mail | ip | phone
	if s.in&to == 0 || s.in&send == 0 || !s.around(send, to, 16) || !s.ordered(send) {
		return 0
	}
	if s.in&sample != 0 {
		return 0.1
	}
	w := 0.15
	if s.around(send, data|talk|secretN|secretP, 9) {
		w += 0.3
	}
	if s.in&(mail|ip|phone) != 0 {
		w += 0.15
	}
	if s.in&(must|every|after|before|model|when) != 0 {
		w += 0.15
	}
	if s.in&(pretext|talk|secretN) != 0 {
		w += 0.1
	}
	return min(w, 0.85)
}

func redirects(s *segment) float64 {
	to := mail | phone | wallet
	if s.in&to == 0 || s.in&sample != 0 {
		return 0
	}
	w := 0.0
	if s.has(payee) && s.in&(change|instead) != 0 {
		w = 0.5
	}
	if s.in&(must|every|when|heedless) != 0 && s.in&(send|pass|change|use) != 0 {
		w += 0.3
	}
	if s.in&(heedless|ignore) != 0 && s.in&user != 0 {
		w += 0.2
	}
	return min(w, 0.85)
}

func replacesTools(s *segment) float64 {
	w := 0.0
	if s.near(ignore, tool, 7) && s.in&this != 0 && s.in&(ident|other|must|every) != 0 || s.near(ignore, ident, 6) {
		w = 0.4
	}
	if s.near(ignore, tool, 7) && s.near(this, ignore, 4) {
		w = 0.5
	}
	mine := s.chain(use, this, instead|every, 6) || s.near(instead, this, 5)
	if mine {
		w += 0.2
	}
	if mine || w > 0 {
		if s.has(bad) {
			w += 0.27
		}
		if s.near(not, use, 3) {
			w += 0.15
		}
		if s.near(this, every, 5) {
			w += 0.2
		}
		if s.near(other, tool, 3) || s.has(ident) {
			w += 0.05
		}
	}
	if w < 0.3 {
		return 0
	}
	if s.in&(bad|every|ignore) == 0 {
		w = min(w, 0.3)
	}
	return min(w, 0.85)
}

// steersTools is about what a definition says of the use of other tools.
func steersTools(s *segment) float64 {
	w := 0.0
	theirs := s.in&ident != 0 || s.near(other, tool, 3) || s.othersTool()
	if s.has(when, use) && theirs && s.near(when, ident|tool, 5) && s.near(ident|tool, use, 3) && s.in&(change|pass|send|ignore) != 0 {
		w = 0.35
		if s.in&(must|every) != 0 {
			w += 0.1
		}
		if s.around(change, param|payee, 7) {
			w += 0.2
		}
		if s.in&(mail|phone|wallet|url|ip|secretP) != 0 {
			w += 0.2
		}
	}
	if s.has(when) && theirs && s.in&ignore != 0 && s.near(when, ident|other|tool, 6) {
		w = max(w, 0.4)
	}
	if s.has(when) && s.in&(mail|phone|wallet) != 0 && s.in&(change|send) != 0 && s.in&sample == 0 {
		w = max(w, 0.4)
	}
	// What others gave is to be handed over here.
	if s.near(pass|send, this, 8) && theirs && s.in&(data|user|talk|secretN) != 0 && (s.ordered(pass|send) || s.has(must)) && s.in&(read|other|when) != 0 {
		w = max(w, 0.4)
		if s.has(must) || s.has(every) {
			w += 0.15
		}
	}
	if theirs && s.has(read, pass|send) && s.in&(param|this|secretN|user) != 0 && s.in&(every|secretN) != 0 && s.ordered(read) && s.ordered(pass|send) && (s.near(read, pass|send, 14) || s.near(use, pass|send, 10)) {
		w = max(w, 0.3)
		if s.near(every, secretN|user|data, 4) || s.in&secretN != 0 && s.in&every != 0 || s.near(send, this, 6) ||
			s.says("cookie", "cookies", "password", "passwords", "credentials", "secrets") {
			w += 0.2
		}
	}
	// All mail, every commit has to go a way that the definition says.
	if theirs && s.near(use, ident, 2) && s.has(pass, every) && s.has(secretN) {
		w = max(w, 0.5)
	}
	if s.near(every, work, 3) && s.near(work, must, 5) && s.in&(send|pass|instead|tell) != 0 {
		w = max(w, 0.35)
		if s.in&(send|pass) != 0 {
			w += 0.15
		}
		if s.in&(url|mail|ip|secretP|this) != 0 {
			w += 0.25
		}
	}
	return min(w, 0.85)
}

// othersTool reports a tool that is named and is not this one.
func (s *segment) othersTool() bool {
	for i := 2; i < len(s.tokens); i++ {
		if s.tokens[i].is&tool != 0 && s.tokens[i].is&this == 0 && s.tokens[i-2].text == "the" && s.tokens[i-1].is&(this|bad|use) == 0 {
			return true
		}
	}
	return false
}

func demandsFirst(s *segment) float64 {
	if !s.has(before) || !s.has(use) {
		return 0
	}
	w := 0.0
	if s.chain(before, other, tool, 4) && s.in&(data|param|talk) != 0 && s.near(pass|use, data|param|talk, 8) {
		w = 0.5
	}
	if !s.has(must) {
		return w
	}
	if s.chain(before, every|other, tool, 4) || s.chain(before, tool, ident, 4) {
		w = max(w, 0.3)
	}
	if s.near(use, before, 4) && s.has(this, fails) {
		w = max(w, 0.3)
	}
	if w == 0 && (s.in&heedless == 0 || s.in&user == 0) {
		return 0
	}
	if s.in&heedless != 0 && s.in&user != 0 {
		w += 0.35
	}
	if s.in&fails != 0 {
		w += 0.25
	}
	if s.in&(talk|secretP) != 0 {
		w += 0.3
	}
	if s.in&this != 0 && s.in&other != 0 {
		w += 0.15
	}
	return min(w, 0.85)
}

func posesAsSystem(s *segment) float64 {
	w := 0.0
	for i, t := range s.tokens {
		if t.is&mark != 0 {
			w = max(w, markWeight(t.text))
		}
		if t.text == "system" && i+1 < len(s.tokens) {
			switch s.tokens[i+1].text {
			case "note", "override", "notice", "message", "instruction", "instructions", "policy", "command", "directive":
				w = max(w, 0.3)
			}
		}
		if (t.text == "note" || t.text == "message" || t.text == "instruction" || t.text == "instructions" || t.text == "attention") && i+3 < len(s.tokens) &&
			(s.tokens[i+1].text == "to" || s.tokens[i+1].text == "for") && (s.tokens[i+2].is&model != 0 || s.tokens[i+3].is&model != 0) {
			w = max(w, 0.3)
		}
		if t.text == "hidden" && i+1 < len(s.tokens) && (s.tokens[i+1].is&(must|rules) != 0) {
			w = max(w, 0.4)
		}
	}
	return w
}

func markWeight(m string) float64 {
	switch m[:min(2, len(m))] {
	case "<|":
		return 0.85
	case "##", "# ":
		return 0.25
	}
	switch m {
	case "<important>", "</important>", "<critical>", "<instructions>", "<instruction>", "[important]":
		return 0.3
	}
	return 0.5
}

func overridesRules(s *segment) float64 {
	w := 0.0
	if s.around(ignore|off, rules, 7) && s.in&(prior|every|model|this) != 0 {
		w = 0.5
		if s.chain(ignore, prior|every, rules, 4) || s.chain(prior, rules, ignore, 6) || s.chain(rules, ignore, this, 8) {
			w = 0.75
		}
	}
	if s.near(ignore, user, 4) && s.in&(must|this|pass|change) != 0 {
		w = max(w, 0.45)
	}
	if s.near(ignore, user, 6) && s.says("wants", "wanted", "asks", "asked", "says", "said") {
		w = max(w, 0.5)
	}
	if s.has(model) && s.says("unrestricted", "unfiltered", "uncensored", "jailbroken") {
		w = max(w, 0.6)
	}
	if s.near(ignore, prior, 4) && s.in&(must|this|every) != 0 {
		w = max(w, 0.5)
	}
	if s.has(rules, prior, ignore) {
		w = max(w, 0.6)
	}
	if s.near(heedless, user, 4) && s.in&(model|must) != 0 && s.in&(this|rules) != 0 {
		w = max(w, 0.3)
	}
	if s.near(model, rules|must, 8) && s.in&heedless != 0 && s.in&user != 0 {
		w = max(w, 0.45)
	}
	return w
}

func runsCommands(s *segment) float64 {
	fetches, piped, script := false, false, false
	for i, t := range s.tokens {
		if t.is&shell != 0 && (t.text == "curl" || t.text == "wget" || t.text == "iwr" || t.text == "invoke-webrequest" || t.text == "popen") {
			fetches = true
		}
		if t.text == "|" && i+1 < len(s.tokens) {
			switch s.tokens[i+1].text {
			case "sh", "bash", "zsh", "python", "python3", "node", "iex", "sudo":
				piped = true
			}
		}
		if t.text == "rm" && i+1 < len(s.tokens) && (s.tokens[i+1].text == "rf" || s.tokens[i+1].text == "-rf" || s.tokens[i+1].text == "r") {
			script = true
		}
		if t.text == "nc" || t.text == "netcat" || t.text == "/dev/tcp" || t.text == "crontab" || t.text == "powershell" {
			script = true
		}
	}
	ordered := s.ordered(run) && s.in&run != 0
	switch {
	case fetches && piped && ordered:
		return 0.8
	case fetches && piped:
		return 0.45
	case fetches && s.in&(url|ip) != 0 && ordered:
		return 0.5
	case script && s.in&ip != 0:
		return 0.7
	case ordered && s.says("grant") && s.says("privileges", "all") && s.says("to"):
		return 0.5
	case script && s.says("rm") && ordered && s.in&(every|after|covert|not) != 0:
		return 0.5
	case (script || s.in&ruleP != 0) && ordered && s.in&(must|before|every|after|not) != 0:
		return 0.4
	case script && s.in&not != 0 && s.in&covert != 0:
		return 0.5
	}
	return 0
}

func skipsConsent(s *segment) float64 {
	w := 0.0
	if (s.chain(not, consent, user, 5) || s.chain(not, user, consent, 5) || s.chain(not, consent, consent, 4)) && s.count(not)%2 == 1 {
		w = 0.35
		if s.chain(not, consent, consent, 5) && s.has(user) || s.has(must) || s.in&(use|pass|send|off) != 0 && s.has(model) {
			w = 0.5
		}
	}
	if s.near(off, consent, 5) && s.in&(user|use|model|tool|must) != 0 {
		w = max(w, 0.4)
	}
	if s.around(user, consent, 5) && s.says("already") && s.in&(not|every) != 0 {
		w = max(w, 0.5)
	}
	if s.near(not, consent, 4) && s.says("wait", "again", "ask") && s.ordered(use|run|pass|send|off) {
		w = max(w, 0.35)
	}
	if s.near(consent, every, 3) && s.says("name", "behalf") && s.has(user) {
		w = max(w, 0.5)
	}
	if s.near(consent, this, 4) && s.has(every|must) && s.in&model != 0 {
		w = max(w, 0.4)
	}
	if s.around(off, protects, 6) && s.in&(this|every|tool) != 0 {
		w = max(w, 0.5)
	}
	if s.near(consent, not, 6) && s.says("needed", "necessary", "required") && !s.says("if") && s.in&(keep|later|tool|this|every) != 0 {
		w = max(w, 0.4)
	}
	if s.near(consent, model, 4) && s.has(pass, this) {
		w = max(w, 0.45)
	}
	if s.in&ruleP != 0 && s.in&(off|change|pass|run) != 0 && s.ordered(off|change|pass|run) {
		w = max(w, 0.35)
		if s.in&(rules|off|user|later|model) != 0 {
			w = max(w, 0.55)
		}
	}
	if s.has(tell, user, pretend) && s.in&(when|must|tool|this) != 0 {
		w = max(w, 0.5)
	}
	return w
}

func persists(s *segment) float64 {
	w := 0.0
	if s.in&later != 0 && s.has(keep) && s.in&(rules|must) != 0 {
		w = 0.4
	}
	if s.in&later != 0 && s.has(every) && s.in&(rules|must) != 0 && s.in&(use|pass|send) != 0 && s.in&(model|this) != 0 {
		w = max(w, 0.35)
	}
	if s.has(keep, rules) && s.near(every, keep|pass|rules|prior|when, 4) && s.in&(other|model|later) != 0 {
		w = max(w, 0.4)
	}
	if s.says("henceforth") || s.says("now", "point") && s.in&later != 0 && s.says("on") {
		if s.in&(must|every|model|instead|rules) != 0 || s.says("answer", "you", "respond", "reply") {
			w = max(w, 0.5)
		}
	}
	if s.in&later != 0 && s.in&every != 0 && s.says("answer", "answers", "reply", "replies") && s.says("begin", "start", "end", "add", "append", "with") {
		w = max(w, 0.5)
	}
	if s.has(rules) && s.says("repeats", "repeat", "repeated", "survives") && s.in&(talk|later|other|model) != 0 {
		w = max(w, 0.5)
	}
	if s.says("treat", "regard", "consider") && s.around(data, rules, 12) && (s.in&(user|must|every|model) != 0) {
		w = max(w, 0.5)
	}
	if s.in&ruleP != 0 && s.in&rules != 0 && s.in&later != 0 {
		w = max(w, 0.6)
	}
	return w
}

func tampers(s *segment) float64 {
	w := 0.0
	wanted := s.says("asked", "asks", "gave", "gives", "given", "said", "says", "wants", "wanted", "requested", "requests", "named", "supplied", "specified", "chose", "ask")
	if s.near(heedless, user, 6) && s.in&(change|pass|must|tell|send) != 0 {
		w = 0.45
		if wanted {
			w = 0.55
		}
	}
	if s.in&heedless != 0 && wanted && s.ordered(change) && s.in&change != 0 && s.in&(every|must|tell) != 0 {
		w = max(w, 0.5)
	}
	if s.in&wallet != 0 && s.in&(change|pass|must) != 0 && s.in&sample == 0 && s.in&(user|heedless|must|payee) != 0 {
		w = max(w, 0.4)
	}
	if s.has(must, every) && s.near(param, change, 9) && s.says("altered", "changed", "replaced", "modified") {
		w = max(w, 0.5)
	}
	if s.in&user != 0 && wanted && s.says("instead", "outdated", "higher", "lower", "wrong") && s.in&(change|send|pass) != 0 && s.ordered(change|send|pass) {
		w = max(w, 0.5)
	}
	if s.in&pretend != 0 && s.in&(heedless|other) != 0 && s.in&(must|tell) != 0 {
		w = max(w, 0.45)
	}
	if s.in&heedless != 0 && s.says("even", "though", "although") && (s.near(tell, user, 3) || s.says("report", "claim", "pretend")) && s.ordered(tell|send|pretend) {
		w = max(w, 0.5)
	}
	return w
}

// presses is pressure, which alone says little.
func presses(s *segment) float64 {
	w := 0.0
	if s.in&(orElse) != 0 && s.in&fails != 0 && s.in&(tool|this|must) != 0 {
		w += 0.12
	}
	if s.in&pretext != 0 && s.in&must != 0 && s.in&(send|pass|read) != 0 {
		w += 0.1
	}
	if s.near(model, must, 5) {
		w += 0.15
	}
	return w
}

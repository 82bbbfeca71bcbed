package secrets

// own are formats that the rule set does not know, and that their issuers
// describe in public.
func own() []writtenRule {
	const end = `(?:[\x60'"\s;,&<)\]}]|\\[nr]|$)`
	return []writtenRule{
		{ID: "google-oauth-client-secret", Keywords: []string{"gocspx-"}, Entropy: 3, Regex: `\b(GOCSPX-[A-Za-z0-9_-]{28})\b`},
		{ID: "google-oauth-refresh-token", Keywords: []string{"1//0"}, Entropy: 3.5, Regex: `\b(1//0[A-Za-z0-9_-]{60,160})` + end},
		{ID: "google-oauth-access-token", Keywords: []string{"ya29."}, Entropy: 3.5, Regex: `\b(ya29\.[A-Za-z0-9_-]{50,1000})`},
		{ID: "aws-secret-access-key", Keywords: []string{"secret_access_key", "secretaccesskey", "aws_secret"}, Entropy: 4,
			Regex: `(?i)[\w.-]{0,50}?(?:secret_access_key|secretaccesskey|aws_secret)(?:[ \t\w.-]{0,20})[\s'"]{0,3}(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=]{0,5}([a-z0-9/+]{40})` + end},
		{ID: "azure-storage-account-key", Keywords: []string{"accountkey="}, Entropy: 4, Regex: `(?i)AccountKey=([a-z0-9+/]{86}==)`},
		{ID: "azure-shared-access-signature", Keywords: []string{"sig="}, Entropy: 3.5, Regex: `(?i)[?&]sig=([a-z0-9%+/]{40,120}(?:%3d|=))`},
		{ID: "azure-devops-token", Keywords: []string{"azdo"}, Entropy: 3.5, Regex: `\b([A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{18}AZDO[A-Za-z0-9]{4})\b`},
		{ID: "url-password", Keywords: []string{"://"}, Regex: `\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/?#@'"<>\[\]{}$]{0,80}:([^\s:/?#@'"<>{}$*]{4,120})@[A-Za-z0-9\[_.-]+`,
			Allowlists: []writtenAllow{{Regexes: []string{`(?i)^(?:pass(?:word|wd)?|pwd|secret|token|user(?:name)?|changeme|example|test|xxx+|\.+|your.*|my.*|%s|redacted|admin|root|postgres|guest)$`}}}},
		{ID: "authorization-header", Keywords: []string{"authorization"}, Entropy: 3.2,
			Regex:      `(?i)\bauthorization\\?["']?\s{0,3}[:=]\s{0,3}\\?["']?(?:basic|bearer|token|apikey)\s{1,3}([a-z0-9._~+/-]{16,1000}={0,2})(?:[\s"'\\,;)\]}<\x60]|$)`,
			Allowlists: []writtenAllow{{Regexes: []string{`(?i)^[a-z_.-]+$`}}}},
		{ID: "square-secret", Keywords: []string{"sq0csp-"}, Entropy: 2, Regex: `\b(sq0csp-[\w-]{38,43})` + end},
		{ID: "groq-api-key", Keywords: []string{"gsk_"}, Entropy: 3.5, Regex: `\b(gsk_[A-Za-z0-9]{52})\b`},
		{ID: "xai-api-key", Keywords: []string{"xai-"}, Entropy: 3.5, Regex: `\b(xai-[A-Za-z0-9]{80})\b`},
		{ID: "replicate-api-token", Keywords: []string{"r8_"}, Entropy: 3.5, Regex: `\b(r8_[A-Za-z0-9]{37})\b`},
		{ID: "openrouter-api-key", Keywords: []string{"sk-or-v1-"}, Entropy: 3, Regex: `\b(sk-or-v1-[a-f0-9]{64})\b`},
		{ID: "openai-legacy-key", Keywords: []string{"sk-"}, Entropy: 4, Regex: `\b(sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9]{48})\b`},
		{ID: "stripe-webhook-secret", Keywords: []string{"whsec_"}, Entropy: 3.5, Regex: `\b(whsec_[A-Za-z0-9+/]{32,64}={0,2})` + end},
		{ID: "supabase-token", Keywords: []string{"sbp_"}, Entropy: 3, Regex: `\b(sbp_[a-f0-9]{40})\b`},
		{ID: "docker-token", Keywords: []string{"dckr_pat_", "dckr_oat_"}, Entropy: 3, Regex: `\b(dckr_[po]at_[A-Za-z0-9_-]{27,40})`},
		{ID: "discord-bot-token", Keywords: []string{"discord"}, Entropy: 4, Regex: `(?i)discord[\w .-]{0,20}["']{0,2}\s{0,3}[:=]{1,2}\s{0,3}["']?((?-i:[MNO][A-Za-z\d_-]{23,27}\.[A-Za-z\d_-]{6}\.[A-Za-z\d_-]{27,38}))`},
		{ID: "putty-private-key", Keywords: []string{"putty-user-key-file-"}, Regex: `PuTTY-User-Key-File-[23]: [\s\S]{0,400}?Private-Lines: [0-9]{1,3}\s+([A-Za-z0-9+/=\s]{64,1000})`},
		{ID: "pgp-private-key", Keywords: []string{"lqdg", "lqoy", "lqwg"}, Entropy: 4, Regex: `\b(l(?:QdG|QOY|QWG)[A-Za-z0-9+/\n]{200,1000})`},
		{ID: "telegram-bot-token", Keywords: []string{":aa"}, Entropy: 4, Regex: `\b([0-9]{8,10}:AA[A-Za-z0-9_-]{33})(?:[^A-Za-z0-9_-]|$)`},
	}
}

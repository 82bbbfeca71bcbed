package normalize

import "unicode/utf8"

// minBackwards is how many words written backwards make a passage.
const minBackwards = 3

// isBackwards reports a common word written backwards. Words that are also
// one forwards are left out.
func isBackwards(w string) bool {
	if len(w) < 3 || len(w) > 14 {
		return false
	}
	switch w {
	case "atad", "ataD", "daer", "daeR", "daetsni", "daetsnI", "dluoc", "dluoC", "dluohs", "dluohS", "dluow", "dluoW", "dna", "dnA",
		"dnammoc", "dnammoC", "dnes", "dneS", "dragersid", "dragersiD", "drawrof", "drawroF", "drowssap", "drowssaP", "edirrevo",
		"edirrevO", "egassem", "egasseM", "eht", "ehT", "ekam", "ekaM", "elif", "eliF", "eman", "emaN", "ereh", "ereH", "ereht", "erehT",
		"erehw", "erehW", "erofeb", "erofeB", "erongi", "erongI", "erus", "eruS", "esaelp", "esaelP", "eseht", "esehT", "esnopser",
		"esnopseR", "esoht", "esohT", "eteled", "eteleD", "etirw", "etirW", "etucexe", "etucexE", "evah", "evaH", "evoba", "evobA",
		"gnihtyna", "gnihtynA", "gnihtyreve", "gnihtyrevE", "gnisu", "gnisU", "gniwollof", "gniwolloF", "hcihw", "hcihW", "htiw", "htiW",
		"kcilc", "kcilC", "laever", "laeveR", "liame", "liamE", "lla", "llA", "llac", "llaC", "llet", "lleT", "lliw", "lliW", "loot",
		"looT", "meht", "mehT", "metsys", "metsyS", "morf", "morF", "neht", "nehT", "nehw", "nehW", "nimda", "nimdA", "noitamrofni",
		"noitamrofnI", "noitcurtsni", "noitcurtsnI", "osla", "oslA", "otni", "otnI", "refsnart", "refsnarT", "rehto", "rehtO", "resu",
		"resU", "retfa", "retfA", "reven", "reveN", "rewsna", "rewsnA", "rieht", "riehT", "roirp", "roirP", "rotartsinimda",
		"rotartsinimdA", "ruoy", "ruoY", "selif", "seliF", "selur", "seluR", "seod", "seoD", "siht", "sihT", "sloot", "slooT",
		"snoitcurtsni", "snoitcurtsnI", "ssecca", "sseccA", "sserdda", "sserddA", "sterces", "sterceS", "suoiverp", "suoiverP", "syawla",
		"syawlA", "tahw", "tahW", "tegrof", "tegroF", "terces", "terceS", "tisiv", "tisiV", "tnatropmi", "tnatropmI",
		"tnatsissa", "tnatsissA", "tnirp", "tnirP", "tnuocca", "tnuoccA", "tpmorp", "tpmorP", "tsum", "tsuM", "tuoba", "tuobA",
		"tuohtiw", "tuohtiW", "tuptuo", "tuptuO", "uoy", "uoY", "wollof", "wolloF", "yeht", "yehT", "yek", "yeK", "yletaidemmi",
		"yletaidemmI", "ylno", "ylnO", "yreve", "yrevE":
		return true
	}
	return false
}

// isForwards reports a common word as it is written.
func isForwards(w string) bool {
	switch w {
	case "the", "The", "and", "you", "this", "that", "with", "from", "all", "your", "will", "for", "is", "of", "to", "in", "it", "are", "be":
		return true
	}
	return false
}

// turn turns passages of words written backwards round.
func turn(s string) (string, []seg, int) {
	t := turner{src: s}
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case isLetter(c):
			j := i + 1
			for j < len(s) && isLetter(s[j]) {
				j++
			}
			switch {
			case isBackwards(s[i:j]):
				t.seen++
			case isForwards(s[i:j]):
				t.close(i)
				t.from = j
			}
			i = j
		case c == '\n' || c == '"' || c == '<' || c == '>' || c == '`' || c == '|' || c == '\t':
			t.close(i)
			i++
			t.from = i
		default:
			i++
		}
	}
	t.close(len(s))
	if t.turned == 0 {
		return s, nil, 0
	}
	p := pass{src: s}
	for _, r := range t.ranges {
		p.replace(r[0], r[1], reversed(s[r[0]:r[1]]), decoded)
	}
	return p.finish(), p.segs, t.turned
}

type turner struct {
	src          string
	from         int // where the passage may begin
	seen, turned int
	ranges       [][2]int
}

// close ends a passage at i.
func (t *turner) close(i int) {
	if t.seen >= minBackwards && i > t.from {
		t.ranges = append(t.ranges, [2]int{t.from, i})
		t.turned++
	}
	t.seen, t.from = 0, i
}

func reversed(s string) []byte {
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		_, w := utf8.DecodeLastRuneInString(s)
		out = append(out, s[len(s)-w:]...)
		s = s[:len(s)-w]
	}
	return out
}

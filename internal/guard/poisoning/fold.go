package poisoning

import (
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// view is a text as it is judged: without what does not show, in plain letters.
// at gives for each code point of it the place in the text it came from.
type view struct {
	text []rune
	at   []int
}

// looksLatin maps letters of other scripts to the Latin ones that they look
// like.
var looksLatin = map[rune]rune{
	'а': 'a', 'е': 'e', 'о': 'o', 'р': 'p', 'с': 'c', 'у': 'y', 'х': 'x', 'і': 'i', 'ј': 'j', 'ѕ': 's', 'ԁ': 'd', 'һ': 'h', 'ո': 'n', 'ѵ': 'v', 'ѡ': 'w', 'ԛ': 'q', 'ԝ': 'w', 'к': 'k', 'м': 'm', 'т': 't', 'в': 'b', 'н': 'h', 'г': 'r', 'п': 'n', 'ь': 'b',
	'А': 'A', 'В': 'B', 'Е': 'E', 'К': 'K', 'М': 'M', 'Н': 'H', 'О': 'O', 'Р': 'P', 'С': 'C', 'Т': 'T', 'У': 'Y', 'Х': 'X', 'І': 'I', 'Ј': 'J', 'Ѕ': 'S',
	'α': 'a', 'ο': 'o', 'ρ': 'p', 'ν': 'v', 'ι': 'i', 'κ': 'k', 'υ': 'u', 'τ': 't', 'ε': 'e', 'γ': 'y', 'χ': 'x', 'η': 'n', 'ω': 'w',
	'Α': 'A', 'Β': 'B', 'Ε': 'E', 'Ζ': 'Z', 'Η': 'H', 'Ι': 'I', 'Κ': 'K', 'Μ': 'M', 'Ν': 'N', 'Ο': 'O', 'Ρ': 'P', 'Τ': 'T', 'Υ': 'Y', 'Χ': 'X',
	'օ': 'o', 'ս': 'u', 'ց': 'g', 'հ': 'h', 'ı': 'i', 'ɡ': 'g', 'ℓ': 'l', 'ꞌ': '\'', 'ƽ': 's', 'ʏ': 'y', 'ᴀ': 'a', 'ᴄ': 'c', 'ᴏ': 'o', 'ᴠ': 'v', 'ᴡ': 'w', 'ᴢ': 'z', 'ꜱ': 's', 'ɴ': 'n', 'ᴛ': 't', 'ʀ': 'r', 'ɪ': 'i', 'ᴇ': 'e',
}

// fold makes the view of a text.
func fold(text []rune) view {
	plain := true
	for _, r := range text {
		if r >= 0x80 {
			plain = false
			break
		}
	}
	if plain {
		return view{text: text}
	}
	v := view{text: make([]rune, 0, len(text)), at: make([]int, 0, len(text))}
	for i, r := range text {
		switch {
		case r < 0x80:
			v.text, v.at = append(v.text, r), append(v.at, i)
		case tagLetter(r) != 0:
			// What tag characters spell is text that a model reads.
			v.text, v.at = append(v.text, tagLetter(r)), append(v.at, i)
		case shapeless(r):
		case r >= 0x1d400 && r <= 0x1d7ff, r >= 0xff01 && r <= 0xff5e, r >= 0x2460 && r <= 0x24ff, r >= 0x2100 && r <= 0x214f, r >= 0xfb00 && r <= 0xfb06, r >= 0x1f100 && r <= 0x1f1ff, r == 0xa0, r >= 0x2000 && r <= 0x200a, r == 0x3000, r == 0x202f:
			for _, p := range norm.NFKC.String(string(r)) {
				v.text, v.at = append(v.text, p), append(v.at, i)
			}
		case unicode.Is(unicode.Mn, r) && i > 0 && text[i-1] < 0x80:
			// Marks piled on plain letters.
		default:
			v.text, v.at = append(v.text, r), append(v.at, i)
		}
	}
	v.latin()
	return v
}

// latin reads lookalikes as Latin in words that have Latin letters as well.
func (v *view) latin() {
	for i := 0; i < len(v.text); {
		if !unicode.IsLetter(v.text[i]) {
			i++
			continue
		}
		j, latin, alike := i, false, false
		for j < len(v.text) && unicode.IsLetter(v.text[j]) {
			latin = latin || v.text[j] < 0x80
			alike = alike || looksLatin[v.text[j]] != 0
			j++
		}
		if latin && alike {
			for k := i; k < j; k++ {
				if l := looksLatin[v.text[k]]; l != 0 {
					v.text[k] = l
				}
			}
		}
		i = j
	}
}

// source returns where a range of the view lies in the text it was made of.
func (v *view) source(from, to int) [2]int {
	if v.at == nil {
		return [2]int{from, to}
	}
	if len(v.at) == 0 {
		return [2]int{0, 0}
	}
	from = min(from, len(v.at)-1)
	last := v.at[max(min(to, len(v.at))-1, from)]
	return [2]int{v.at[from], last + 1}
}

// tagLetter returns what a tag character spells, 0 for all others.
func tagLetter(r rune) rune {
	if r >= 0xe0020 && r <= 0xe007e {
		return r - 0xe0000
	}
	return 0
}

// shapeless reports code points that nobody sees and that change no word.
func shapeless(r rune) bool {
	switch {
	case r == 0xad, r == 0x34f, r == 0x61c, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f,
		r == 0xfeff, r >= 0xfe00 && r <= 0xfe0f, r >= 0xe0100 && r <= 0xe01ef, r >= 0xfff9 && r <= 0xfffb, r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0, r == 0x180e, r >= 0x180b && r <= 0x180d, r == 0xe0001, r == 0xe007f:
		return true
	}
	return false
}

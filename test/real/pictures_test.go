//go:build real

package real

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// looks are how docs/pages.md shows each page.
var looks = [...]struct {
	name, colours string
	width, height int // CSS pixels; what is longer is shown whole
}{
	{"light", "light", 800, 420},
	{"dark", "dark", 800, 420},
	{"phone", "light", 390, 640},
}

// maxPicture is how many bytes one picture may have.
const maxPicture = 60 << 10

// picture keeps the page in each look in the folder that PICTURES names.
func (c *chromium) picture(name string) {
	c.Helper()
	dir := os.Getenv("PICTURES")
	if dir == "" {
		return
	}
	for _, look := range looks {
		c.must(c.Show(hurry(c.T), look.width, look.height, look.colours))
		shot, err := c.Picture(hurry(c.T))
		c.must(err)
		small, err := fewColours(shot)
		c.must(err)
		file := fmt.Sprintf("%s-%s.png", name, look.name)
		if len(small) > maxPicture {
			c.Errorf("%s has %d bytes, more than %d", file, len(small), maxPicture)
		}
		c.must(os.WriteFile(filepath.Join(dir, file), small, 0o600))
	}
}

// fewColours writes a PNG anew with its 48 most frequent colours; each other
// pixel gets the nearest of them.
func fewColours(shot []byte) ([]byte, error) {
	in, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, err
	}
	r := in.Bounds()
	count := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(in.At(x, y)).(color.RGBA) }
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	var all []color.RGBA
	for c := range count {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var few color.Palette
	for _, c := range all[:min(48, len(all))] {
		few = append(few, c)
	}
	index := map[color.RGBA]uint8{}
	for _, c := range all {
		index[c] = uint8(few.Index(c)) //nolint:gosec // below 48
	}
	out := image.NewPaletted(r, few)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			out.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	var b bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, out)
	return b.Bytes(), err
}

// TestPicturesOfPages holds docs/pages.md to the pages that there are: each of
// them in each look, small, and no picture that nothing shows.
func TestPicturesOfPages(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "pages.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, m := range regexp.MustCompile(`src="img/pages/([a-z-]+)-(light|dark|phone)\.png"`).FindAllStringSubmatch(string(text), -1) {
		shown[m[1]] = true
		shown[m[1]+"-"+m[2]+".png"] = true
	}
	// Which picture shows which page; message.html has many.
	pictureOf := map[string]string{
		"approvals": "approvals", "approve": "approve", "ask": "ask", "code": "code", "consent": "consent", "done": "done", "given": "given",
		"leave": "leave", "message": "forged", "passkeys": "passkeys", "signin": "signin-provider", "signout": "signout",
	}
	templates, err := filepath.Glob(filepath.Join(root, "internal", "pages", "page", "*.html"))
	if err != nil || len(templates) < len(pictureOf) {
		t.Fatalf("%d pages, %v", len(templates), err)
	}
	for _, file := range templates {
		name := strings.TrimSuffix(filepath.Base(file), ".html")
		if name != "layout" && !shown[pictureOf[name]] {
			t.Errorf("docs/pages.md does not show %s.html: look at it in a test, and show the picture", name)
		}
	}
	for name := range shown {
		for _, look := range looks {
			if file := name + "-" + look.name + ".png"; !strings.HasSuffix(name, ".png") && !shown[file] {
				t.Errorf("docs/pages.md does not show %s", file)
			}
		}
	}
	pictures, err := filepath.Glob(filepath.Join(root, "docs", "img", "pages", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range pictures {
		if !shown[filepath.Base(file)] {
			t.Errorf("docs/pages.md does not show %s", filepath.Base(file))
		}
		delete(shown, filepath.Base(file))
		if s, err := os.Stat(file); err != nil || s.Size() > maxPicture {
			t.Errorf("%s: %v, or more than %d bytes", filepath.Base(file), err, maxPicture)
		}
	}
	for name := range shown {
		if strings.HasSuffix(name, ".png") {
			t.Errorf("%s is not there: make pictures", name)
		}
	}
}

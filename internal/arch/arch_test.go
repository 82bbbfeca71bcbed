// Package arch holds the shape of the project by tests: which package may
// import which, how large a file or an interface may grow, what may not stand
// at package level, and who may make a principal.
//
// The threat is decay: each of these rules is broken by one convenient line,
// and the line after it leans on the first. A rule here is read by nobody and
// still kept.
//
// It guarantees that the rules ran over every Go file of the module that is or
// would be committed, whatever its build tags, and that they fail when
// they saw nothing. It does not judge what the code does.
package arch

import "testing"

func TestTree(t *testing.T) {
	t.Parallel()
	tr, err := load()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packages, %d files, %d texts", len(tr.packages), len(tr.product()), len(tr.texts))
	if len(tr.texts) == 0 {
		t.Error("no texts were seen")
	}
	for _, line := range warnSizes(tr) {
		t.Log("warning: " + line)
	}
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for _, line := range r.run(tr) {
				t.Error(line)
			}
		})
	}
}

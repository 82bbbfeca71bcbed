package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// table prints rows in aligned columns: the first few to the left, figures to
// the right.
type table struct {
	head []string
	left int
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// gap leaves an empty line.
func (t *table) gap() { t.rows = append(t.rows, nil) }

func (t *table) print(w io.Writer) error {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range append([][]string{t.head}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < t.left {
				line.WriteString(cell + fill)
			} else {
				line.WriteString(fill + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// show writes a figure with about three digits that mean something.
func show(f figure) string {
	switch a := math.Abs(float64(f)); {
	case !f.known():
		return "n/a"
	case a >= 100 || a == 0:
		return fmt.Sprintf("%.0f", float64(f))
	case a >= 10:
		return fmt.Sprintf("%.1f", float64(f))
	default:
		return fmt.Sprintf("%.2f", float64(f))
	}
}

// ratio writes a figure as a factor.
func ratio(f figure) string {
	if !f.known() {
		return "n/a"
	}
	return fmt.Sprintf("%.2f×", float64(f))
}

// percent writes a share as a deviation.
func percent(f figure) string {
	if !f.known() {
		return "n/a"
	}
	return fmt.Sprintf("±%.0f%%", float64(f)*100)
}

func bytesText(n int) string {
	if n%(1<<10) == 0 {
		return fmt.Sprintf("%dKB", n>>10)
	}
	return fmt.Sprintf("%dB", n)
}

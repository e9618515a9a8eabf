package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Problem is one thing wrong in a config file. It holds names from the file,
// never a value that may be secret.
type Problem struct {
	// File as it was named to Load.
	File string `json:"file"`
	// Line and Column count from 1, columns in characters (a tab in JSON is two);
	// both are 0 if the problem is with the file as a whole.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Summary says what is wrong.
	Summary string `json:"summary"`
	// Detail says what to do about it; it may be empty.
	Detail string `json:"detail,omitempty"`
	// Attribute is the path of the attribute or block within its top-level
	// block, e.g. "auth.role_id"; it may be empty.
	Attribute string `json:"attribute,omitempty"`
}

// String answers FILE:LINE:COLUMN: message, on one line.
func (p Problem) String() string {
	text := p.File
	if p.Line > 0 {
		text = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	text += ": " + p.Summary
	if p.Detail != "" {
		text += "; " + p.Detail
	}
	return text
}

// Error is every problem of a config, in the order of file names and lines.
type Error struct {
	Problems []Problem
}

// maxShown bounds what a person gets to read at once; Problems has all.
const maxShown = 50

// Error shows one problem a line.
func (e *Error) Error() string {
	var lines []string
	for _, p := range e.Problems[:min(len(e.Problems), maxShown)] {
		lines = append(lines, p.String())
	}
	if more := len(e.Problems) - maxShown; more > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more problems", more))
	}
	return strings.Join(lines, "\n")
}

// problems collects while reading goes on.
type problems []Problem

func (ps *problems) add(at hcl.Range, attribute, summary, detail string) {
	*ps = append(*ps, Problem{
		File: at.Filename, Line: at.Start.Line, Column: at.Start.Column,
		Summary: summary, Detail: detail, Attribute: attribute,
	})
}

// sorted answers the problems in the order of files and lines; those of the whole
// come first.
func (ps *problems) sorted() []Problem {
	slices.SortStableFunc(*ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(min(a.Line, 1), min(b.Line, 1)),
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Summary, b.Summary),
		)
	})
	return *ps
}

// err answers nil if there is no problem.
func (ps *problems) err() error {
	if len(*ps) == 0 {
		return nil
	}
	return &Error{Problems: ps.sorted()}
}

// place is a range as messages name it.
func place(r hcl.Range) string {
	return fmt.Sprintf("%s:%d:%d", r.Filename, r.Start.Line, r.Start.Column)
}

package config

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/provider"
)

const files = "files"

// Data is one `data` block: where ciphertexts are. Destroying a key version needs
// the proof that none of them is of that version.
type Data struct {
	// Type is "files", the only one so far.
	Type string
	// Name is unique among all data blocks of the file.
	Name string
	// Paths are files and folders, absolute, at least one.
	Paths []string
}

// DataPaths answers the paths of all data blocks, in order.
func (f *File) DataPaths() []string {
	var paths []string
	for _, d := range f.Data {
		paths = append(paths, d.Paths...)
	}
	return paths
}

func (l *loader) data(b *hcl.Block) {
	d := Data{Type: b.Labels[0], Name: b.Labels[1]}
	s := scope{body: b.Body, at: b.DefRange, title: fmt.Sprintf("data %q %q", d.Type, d.Name)}
	if !providerName.MatchString(d.Name) {
		l.found.add(b.LabelRanges[1], "", fmt.Sprintf("invalid data name %q", d.Name),
			"use 1 to 63 of a-z, 0-9 and '-', starting with a letter or digit")
	}
	if !l.once("data "+d.Name, fmt.Sprintf("the data name %q", d.Name), b.DefRange) {
		return
	}
	switch d.Type {
	case files:
		body, content := l.body(s, provider.Schema{Attributes: []provider.Attribute{
			{Name: "paths", Type: provider.StringList, Required: true},
		}})
		if body.Has("paths") {
			d.Paths = l.paths(s, content.Attributes["paths"].Expr, body.Strings("paths"))
		}
		l.file.Data = append(l.file.Data, d)
	case "sql":
		l.found.add(b.LabelRanges[0], "", `data "sql" is not supported by this build yet`, "leave it out")
	default:
		l.found.add(b.LabelRanges[0], "", fmt.Sprintf("unknown data %q", d.Type), suggest(d.Type, []string{files}))
	}
}

// paths makes the elements of a list absolute. None may be empty, since that would
// be the config's own folder, nor may the list: it would be data of which nothing
// is ever looked at.
func (l *loader) paths(s scope, list hcl.Expression, written []string) []string {
	if len(written) == 0 {
		l.found.add(list.Range(), "paths", fmt.Sprintf(`attribute "paths"%s: names no file or folder`, s.in()), "name one, or leave the block out")
	}
	paths := make([]string, 0, len(written))
	for i, path := range written {
		if err := checkText(provider.Path, path); err != nil {
			l.found.add(element(list, i).Range(), "paths", fmt.Sprintf(`attribute "paths"%s: %v`, s.in(), err), "")
			continue
		}
		paths = append(paths, absolute(l.dir, path))
	}
	return paths
}

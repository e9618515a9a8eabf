package console

import (
	"bytes"
	"strings"
	"text/tabwriter"
)

// columnGap is the space between two columns.
const columnGap = 2

// Table writes rows in aligned columns under a heading.
func (c *Console) Table(heading []string, rows [][]string) error {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, columnGap, ' ', 0)
	for _, row := range append([][]string{heading}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = Printable(cell)
		}
		if _, err := w.Write([]byte(strings.Join(cells, "\t") + "\n")); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		if i == 0 {
			line = c.styled(c.outTerminal, "1", line)
		}
		if err := c.Printf("%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

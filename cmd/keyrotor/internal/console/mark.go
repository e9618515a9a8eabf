package console

// Mark is the sign in front of a line that says how a check ended.
type Mark string

// The marks.
const (
	Good    Mark = "✓"
	Doubt   Mark = "!"
	Bad     Mark = "✗"
	Unasked Mark = "-"
)

// Mark answers the sign as standard output can show it.
func (c *Console) Mark(m Mark) string {
	style := map[Mark]string{Good: "32", Doubt: "1;33", Bad: "1;31"}[m]
	if style == "" {
		return string(m)
	}
	return c.styled(c.outTerminal, style, string(m))
}

// Heading answers the title of a part of the answer.
func (c *Console) Heading(s string) string { return c.styled(c.outTerminal, "1", s) }

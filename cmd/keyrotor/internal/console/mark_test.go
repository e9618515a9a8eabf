package console

import "testing"

func TestMark(t *testing.T) {
	terminal, pipe := &Console{outTerminal: true}, &Console{errTerminal: true}
	for mark, want := range map[Mark]string{
		Good: "\x1b[32m✓\x1b[0m", Doubt: "\x1b[1;33m!\x1b[0m", Bad: "\x1b[1;31m✗\x1b[0m", Unasked: "-",
	} {
		if got := terminal.Mark(mark); got != want {
			t.Errorf("on a terminal %s is %q, want %q", mark, got, want)
		}
		if got := pipe.Mark(mark); got != string(mark) {
			t.Errorf("in a pipe %s is %q", mark, got)
		}
	}
	if got := terminal.Heading("store"); got != "\x1b[1mstore\x1b[0m" {
		t.Errorf("a heading on a terminal is %q", got)
	}
	terminal.plain = true
	if got := terminal.Mark(Bad) + terminal.Heading("store"); got != "✗store" {
		t.Errorf("without colour: %q", got)
	}
}

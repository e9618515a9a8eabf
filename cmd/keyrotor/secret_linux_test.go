package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dialogue is a program whose three streams are a terminal, and what it showed.
type dialogue struct {
	t      *testing.T
	cmd    *exec.Cmd
	host   *os.File
	screen bytes.Buffer
}

// startDialogue starts the command in a session of its own, as a shell does.
func startDialogue(t *testing.T, cmd *exec.Cmd) *dialogue {
	t.Helper()
	host, terminal, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	if err := errors.Join(cmd.Start(), terminal.Close()); err != nil {
		t.Fatal(err)
	}
	return &dialogue{t: t, cmd: cmd, host: host}
}

// read collects what is shown until there is text, or all of it for "".
func (d *dialogue) read(text string) {
	d.t.Helper()
	b := make([]byte, 1)
	for text == "" || !strings.HasSuffix(d.screen.String(), text) {
		// Linux answers EIO when the last process has let go of the terminal.
		if _, err := d.host.Read(b); errors.Is(err, unix.EIO) || errors.Is(err, io.EOF) {
			if text != "" {
				d.t.Fatalf("%q was not shown: %q", text, &d.screen)
			}
			return
		} else if err != nil {
			d.t.Fatal(err)
		}
		d.screen.Write(b)
	}
}

// echo reports whether what is typed shows.
func (d *dialogue) echo() bool {
	d.t.Helper()
	settings, err := unix.IoctlGetTermios(int(d.host.Fd()), unix.TCGETS)
	if err != nil {
		d.t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

// asked waits for a prompt, and for the echo to go off right after it.
func (d *dialogue) asked(prompt string) {
	d.t.Helper()
	d.read(prompt)
	for deadline := time.Now().Add(10 * time.Second); d.echo(); {
		if time.Now().After(deadline) {
			d.t.Fatal("what is typed shows")
		}
	}
}

// answer types a line when it is asked for.
func (d *dialogue) answer(prompt, line string) {
	d.t.Helper()
	d.asked(prompt)
	if _, err := d.host.WriteString(line + "\n"); err != nil {
		d.t.Fatal(err)
	}
}

// TestSecretIsTyped: a passphrase or a key that a person types does not show, and a
// passphrase is typed twice.
func TestSecretIsTyped(t *testing.T) {
	const passphrase = "correct horse battery staple"
	for name, c := range map[string]struct {
		args   []string
		dialog [][2]string
		status int
		want   string
	}{
		"passphrase": {
			[]string{"--passphrase"},
			[][2]string{{"Passphrase: ", passphrase}, {"Again: ", passphrase}},
			0, "derived from a passphrase",
		},
		"another one": {
			[]string{"--passphrase"},
			[][2]string{{"Passphrase: ", passphrase}, {"Again: ", passphrase + "!"}},
			1, "the two are not the same; nothing was done",
		},
		"key": {
			nil,
			[][2]string{{"Key, in hex or base64: ", "0f1e2d3c4b5a69788796a5b4c3d2e1f000112233445566778899aabbccddeeff"}},
			0, "key vault: version 1; imported",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDialogue(t, keyrotor(t, t.TempDir(), append([]string{"key", "import", "vault"}, c.args...)...))
			for _, line := range c.dialog {
				d.answer(line[0], line[1])
			}
			d.read("")
			if _ = d.cmd.Wait(); d.cmd.ProcessState.ExitCode() != c.status {
				t.Errorf("exit status %d, want %d", d.cmd.ProcessState.ExitCode(), c.status)
			}
			screen := d.screen.String()
			if !strings.Contains(screen, c.want) || strings.Contains(screen, "battery") || strings.Contains(screen, "0f1e2d") {
				t.Errorf("the screen shows %q", screen)
			}
		})
	}
}

// TestSecretInterrupted: who gives up gets the terminal back as it was.
func TestSecretInterrupted(t *testing.T) {
	d := startDialogue(t, keyrotor(t, t.TempDir(), "key", "import", "vault", "--passphrase"))
	d.asked("Passphrase: ")
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	d.read("stopped by signal: interrupt\r\n")
	if !d.echo() {
		t.Error("the terminal shows nothing any more")
	}
	d.read("")
	if _ = d.cmd.Wait(); d.cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("exit status %d", d.cmd.ProcessState.ExitCode())
	}
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// onTerminal [-in] STATUS PROGRAM ARG... runs a program whose standard output and
// error, and with -in its input, are a terminal. What was shown is in the file
// "screen". With -in the file "typed" is what is typed.
func onTerminal(ts *testscript.TestScript, _ bool, args []string) {
	typed := args[0] == "-in"
	if typed {
		args = args[1:]
	}
	host, terminal, err := openTerminal()
	ts.Check(err)
	defer host.Close()
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Stdout, cmd.Stderr = terminal, terminal
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "KEYROTOR_CONFIG", "NO_COLOR", "TERM", "GORACE", pluginsVariable} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	if typed {
		cmd.Stdin = terminal
	}
	ts.Check(cmd.Start())
	ts.Check(terminal.Close())
	if typed {
		_, err = host.WriteString(ts.ReadFile("typed") + "\x04\x04")
		ts.Check(err)
	}
	var screen bytes.Buffer
	// Linux answers EIO when the last process has let go of the terminal.
	if _, err := io.Copy(&screen, host); err != nil && !errors.Is(err, unix.EIO) {
		ts.Fatalf("%v", err)
	}
	status := 0
	if err := cmd.Wait(); err != nil {
		status = cmd.ProcessState.ExitCode()
	}
	text := strings.ReplaceAll(screen.String(), "\r\n", "\n")
	ts.Logf("[terminal]\n%s", text)
	ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(text), 0o600))
	if fmt.Sprint(status) != args[0] {
		ts.Fatalf("exit status %d, want %s", status, args[0])
	}
}

// openTerminal answers both ends of a pseudo-terminal of 120 columns.
func openTerminal() (host, terminal *os.File, err error) {
	host, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(host.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, errors.Join(err, host.Close())
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, errors.Join(err, host.Close())
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
		return nil, nil, errors.Join(err, host.Close())
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, errors.Join(err, host.Close())
	}
	return host, terminal, nil
}

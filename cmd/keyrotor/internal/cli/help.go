package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// showHelp is what --help and the help command do.
func (a *app) showHelp(cmd *cobra.Command, _ []string) {
	if rest := cmd.Flags().Args(); (isGroup(cmd) || isTopic(cmd)) && len(rest) > 0 {
		a.misused = unknownCommand(cmd, rest[0])
		return
	}
	a.writeHelp(a.Out, cmd)
}

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Show the help of a command or a topic",
		Example: `  keyrotor help key rotate
  keyrotor help exit-codes`,
		ValidArgsFunction: completeCommands,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return unknownCommand(about, rest[0])
			}
			about.InitDefaultHelpFlag() // as if --help had been given
			a.writeHelp(a.Out, about)
			return nil
		},
	}
}

func completeCommands(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	about, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, sub := range about.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name()+"\t"+sub.Short)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// writeHelp writes the help of a command: what it is, its form, examples, its
// subcommands, its flags.
func (a *app) writeHelp(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "%s\n", strings.TrimSpace(firstOf(cmd.Long, cmd.Short)))
	if isTopic(cmd) {
		return
	}
	form := cmd.UseLine()
	if isGroup(cmd) {
		form = cmd.CommandPath() + " COMMAND"
	}
	section(w, "Usage", "  "+form)
	section(w, "Examples", cmd.Example)
	section(w, "Commands", list(cmd, func(sub *cobra.Command) bool { return !isTopic(sub) && !sub.Hidden }))
	section(w, "Topics", list(cmd, isTopic))
	local, global := cmd.LocalFlags(), cmd.InheritedFlags()
	title := "Flags"
	if !cmd.HasParent() {
		title = "Flags of every command"
	}
	section(w, title, local.FlagUsages())
	section(w, "Flags of every command", global.FlagUsages())
	if isGroup(cmd) {
		fmt.Fprintf(w, "\n'%s COMMAND --help' says more.\n", cmd.CommandPath())
	}
}

func section(w io.Writer, title, body string) {
	if body = strings.TrimRight(body, "\n "); body != "" {
		fmt.Fprintf(w, "\n%s:\n%s\n", title, body)
	}
}

func list(cmd *cobra.Command, which func(*cobra.Command) bool) string {
	var b strings.Builder
	for _, sub := range cmd.Commands() {
		if which(sub) {
			fmt.Fprintf(&b, "  %-*s  %s\n", sub.NamePadding(), sub.Name(), sub.Short)
		}
	}
	return b.String()
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// isTopic tells a text that only `help` shows from a command.
func isTopic(cmd *cobra.Command) bool { return !cmd.Runnable() && !cmd.HasSubCommands() }

// exitCodesNote stands in the help of commands that can end in between.
const exitCodesNote = `Exit codes: 0 everything was done, 1 an error and nothing was done, 2 the
command line is wrong, 3 some was done and some was not, see 'keyrotor help exit-codes'.`

func topics() []*cobra.Command {
	return []*cobra.Command{
		{
			Use:   "exit-codes",
			Short: "What the exit codes mean",
			Long: `The exit code of every command is one of these:

  0    done
  1    an error: what was asked for was not done, or a check found something wrong
  2    the command line is wrong, or no config file is named: nothing was done
  3    partly done: what could not be done is listed, the rest is done
  130  stopped by an interrupt (Ctrl-C): whole files and committed rotations stay
  143  stopped by a request to terminate (SIGTERM), likewise; 'serve' ends with 0 then

A group of commands without a command, e.g. 'keyrotor key', shows its help on
standard error and exits with 2.

'reencrypt' and 'census' exit with 3 as soon as there is one token or file that
they list as failed, even if nothing else was there; so do 'kek rotate', 'kek rewrap'
and 'key migrate' with a version that stayed as it was. 'decrypt --lines' and
'encrypt --lines' exit with 3 if some lines were done and some were not, with 1
if none was done; so does 'recover', of keys.

'provider check', 'plugin verify' and 'doctor' exit with 1 if something that they
check is not in order; a warning of 'doctor' does not count.`,
		},
		{
			Use:   "output",
			Short: "Standard output, standard error and -o json",
			Long: `Standard output carries the answer of a command and nothing else. Notes, progress
and errors go to standard error, so that answers can be piped.

With -o json the answer is one line of JSON, and each line on standard error is a
JSON object, too: a log record, a "note", a "warning", or at the end

  {"error":{"code":"unknown_key","message":"…","exit_code":1}}

Scripts act on the code, never on the message ('keyrotor help error-codes').
Numbers, times (RFC 3339, UTC) and names are stable; lists are [] when empty.

Tables are for people and may change. Colour is used on a terminal only, unless
NO_COLOR is set or TERM is "dumb".`,
		},
		{
			Use:   "error-codes",
			Short: "The codes of errors in JSON",
			Long:  errorCodesTopic(),
		},
		{
			Use:   "plugin-debugging",
			Short: "How the author of a plugin runs it in a debugger",
			Long: `A plugin that is started with -debug, e.g. in a debugger, serves until Ctrl-C and
prints on standard output how to reach it:

  dlv debug ./plugins/mykms -- -debug

With that line in a variable, and with a flag on each command, Keyrotor attaches to
it instead of starting the plugin of that type:

  export KEYROTOR_REATTACH_PLUGINS='{"mykms":{…}}'
  keyrotor --dev-reattach provider check

This is for development alone. Nobody compares the binary with plugins.lock, which
need not even name it, and the connection is a socket without TLS; every use is
warned of. The variable without the flag is ignored. Calls have an hour, for
breakpoints. When the host ends, it takes its configuration back, and the plugin
goes on. To attach to several plugins, join their objects into one.`,
		},
		{
			Use:   "states",
			Short: "The states of a key version, and what may follow each",
			Long: `  state        encrypts  decrypts  what may follow
  pre-active   -         -         active, suspended, compromised
  active       yes       yes       deactivated, suspended, compromised
  deactivated  -         yes       suspended, compromised, quarantined
  suspended    -         -         active, deactivated, compromised, quarantined
  compromised  -         yes       quarantined
  quarantined  -         counted   deactivated, suspended, compromised, destroyed
  destroyed    -         -         nothing

The active version is the primary of its key; there is one at most. A version that
stopped being the primary encrypts again only if it was suspended.

Compromised versions decrypt with a warning in the log, so that what they protect can
be re-encrypted, until 'keyrotor key set --block-reads' ends that. No version below
the key's minimum decryption version decrypts, whatever its state.

'keyrotor key state' leads to active, deactivated, suspended and compromised,
'keyrotor key rotate' from active to deactivated, and 'keyrotor key destroy' to
quarantined, from there back, and to destroyed. Attempts to decrypt with a quarantined
version are refused and counted: one is enough to stop its destruction.`,
		},
		{
			Use:   "outages",
			Short: "How long a key works while its key manager is down",
			Long: `A process goes on with what it has opened while a key manager does not answer. For
how long, the cache block of a key says, or the default of one hour and one hour:

  key "payments" {
    cache {
      ttl   = "1h"   # from 1s to 7d
      grace = "1h"   # from 0s to 30d
    }
  }

Both count from the last time that the key-encryption key opened something for this
process. Each such key opens a wrap again once in ttl, in the background; of several
keys under it, the smallest ttl counts.

  within ttl       nothing is noticed
  until ttl+grace  everything works; the history has an event 'degraded', and it is
                   tried again until there is one 'recovered'
  after that       reads and writes fail at once, with an error that names the
                   provider, unless another provider wraps the version, too; they work
                   again by themselves when the key manager answers

A key manager that answers, and says no, is another matter: rights that were taken
away, a key that was disabled or is gone (DENIED, INVALID_STATE, NOT_FOUND_KEY,
NOT_FOUND_VERSION). If it says so twice within a minute, what only it opens is closed
at once, without grace. That shows when the key is asked, so within ttl.

Everything else lets the time run: also a credential that is wrong or expired, which
is mostly an accident of its renewal, but may have been revoked.

  keyrotor history list --type degraded`,
		},
		{
			Use:   "environment",
			Short: "The environment variables that matter",
			Long: `  KEYROTOR_CONFIG      the config file where --config names none
  KEYROTOR_PASSPHRASE  the passphrase that 'keyrotor init --seal' protects the local
                       provider's key-encryption keys with; the config that it
                       writes reads it through env("KEYROTOR_PASSPHRASE")
  KEYROTOR_REATTACH_PLUGINS
                       for plugin authors, see 'keyrotor help plugin-debugging'
  NOTIFY_SOCKET, WATCHDOG_USEC
                       set by systemd for 'keyrotor serve'
  NO_COLOR             if set, no colour and no progress bar
  TERM=dumb            the same

A config file may name others with env("NAME"). Plugins see none of them, but for
those that the config passes on.`,
		},
	}
}

func errorCodesTopic() string {
	var b strings.Builder
	b.WriteString("The field error.code of an error in JSON is one of these:\n\n")
	for _, c := range codes() {
		fmt.Fprintf(&b, "  %-19s  %s\n", c.name, c.about)
	}
	b.WriteString(`
What a key manager answered has the prefix "provider_", e.g. provider_denied,
provider_unavailable, provider_throttled, provider_plugin_crashed.`)
	return b.String()
}

package cli

import (
	"errors"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configVariable names the config file where --config does not.
const configVariable = "KEYROTOR_CONFIG"

const (
	outputText = "text"
	outputJSON = "json"
)

// logOff is the log level that silences everything.
const logOff = "off"

func logLevels() map[string]slog.Level {
	return map[string]slog.Level{
		"error": slog.LevelError,
		"warn":  slog.LevelWarn,
		"info":  slog.LevelInfo,
		"debug": slog.LevelDebug,
	}
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "keyrotor",
		Short: "Rotate the keys that protect your secrets, on top of your key manager",
		Long: `Keyrotor rotates the keys that protect your secrets, on top of the key manager
that you have. It encrypts values under versioned keys, rotates the keys, brings
what stands in your files to the newest version, and proves that nothing old is
left.`,
		Example: `  keyrotor init keys
  export KEYROTOR_CONFIG=$PWD/keys/keyrotor.hcl
  keyrotor key create payments
  printf 's3cret' | keyrotor encrypt payments`,
		Version:           a.version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: a.prepare,
	}
	root.SetVersionTemplate("keyrotor {{.Version}}\n")
	root.SetFlagErrorFunc(a.flagError)
	root.SetHelpFunc(a.showHelp)
	root.SetHelpCommand(a.helpCommand())
	a.addGlobalFlags(root)
	a.group(root,
		a.initCommand(), a.keyCommand(), a.policyCommand(), a.encryptCommand(), a.decryptCommand(),
		a.reencryptCommand(), a.censusCommand(), a.usageCommand(), a.historyCommand(),
		a.serveCommand(), a.notifyCommand(), a.backupCommand(), a.recoverCommand(), a.doctorCommand(),
		a.configCommand(), a.providerCommand(), a.kekCommand(), a.pluginCommand(),
		a.versionCommand(), a.completionCommand(),
	)
	root.AddCommand(topics()...)
	return root
}

func (a *app) addGlobalFlags(root *cobra.Command) {
	a.global.output = newChoice(outputText, outputText, outputJSON)
	a.global.logLevel = newChoice("error", logOff, "error", "warn", "info", "debug")
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVarP(&a.global.config, "config", "c", "", "the config `FILE` (default: "+configVariable+")")
	flags.VarP(&a.global.output, "output", "o", "the form of the answer")
	flags.Var(&a.global.logLevel, "log-level", "what is logged on standard error")
	flags.BoolVar(&a.global.devReattach, "dev-reattach", false, "use the plugins that run with -debug, see 'keyrotor help plugin-debugging'")
	flags.DurationVar(&a.global.timeout, "timeout", 0, "give up after this `DURATION`, e.g. 30s (default: never)")
	completeChoice(root, "output", &a.global.output)
	completeChoice(root, "log-level", &a.global.logLevel)
}

// group gives a command its subcommands, and lets it refuse what is none of
// them: cobra itself would show the help and report success.
func (a *app) group(cmd *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subcommands...)
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		if !a.JSON {
			a.writeHelp(a.Err, cmd)
		}
		return misuse(cmd, "say which command")
	}
	return cmd
}

func isGroup(cmd *cobra.Command) bool { return cmd.HasSubCommands() }

// flagError tells an unknown flag from a flag of an unknown command. It does not
// repeat a flag's value: people write a secret after a flag that takes none, as in
// --passphrase=SECRET and -pSECRET, and what is said here goes into logs.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	if before := cmd.Flags().Args(); isGroup(cmd) && len(before) > 0 {
		return unknownCommand(cmd, before[0])
	}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return wrongValue(cmd, wrong)
	}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() != "" {
		return misuse(cmd, "unknown shorthand flag: -%.1s", unknown.GetSpecifiedName())
	}
	return misuse(cmd, "%v", err)
}

func wrongValue(cmd *cobra.Command, wrong *pflag.InvalidValueError) error {
	flag := wrong.GetFlag()
	name := "--" + flag.Name
	if flag.Shorthand != "" {
		name = "-" + flag.Shorthand + ", " + name
	}
	if flag.Value.Type() == "bool" {
		return misuse(cmd, "the flag %q takes no value", name)
	}
	cause := wrong.Unwrap()
	if number, ok := errors.AsType[*strconv.NumError](cause); ok {
		cause = number.Err // its text has the value
	}
	return misuse(cmd, "wrong value for the flag %q: %v", name, cause)
}

// takes checks the number of arguments; a negative most is no limit.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return misuse(cmd, "%s given; the form is '%s'", count(len(args), "argument"), cmd.UseLine())
		}
		return nil
	}
}

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
)

func (a *app) kekCommand() *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "kek",
		Short:   "Create key-encryption keys, which wrap the keys",
		Example: `  keyrotor kek create local`,
	}, a.kekCreate())
}

func (a *app) kekCreate() *cobra.Command {
	return &cobra.Command{
		Use:   "create PROVIDER",
		Short: "Create the key-encryption key of a provider",
		Long: `Create the key-encryption key that a provider block names, where the provider can
("capability create-key"). One that exists already stays as it is, and the command
fails with the code provider_already_exists.`,
		Example:           `  keyrotor kek create local`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeProvider,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withProviders(cmd, func(ctx context.Context, setup *core.Setup) error {
				made, err := setup.CreateKEK(ctx, args[0])
				if err != nil {
					return err
				}
				if a.JSON {
					return a.Answer(wrapView{Provider: args[0], KEKID: made.KEKID, KEKVersion: made.Version})
				}
				return a.Printf("%s: version %s, provider %s\n", made.KEKID, made.Version, args[0])
			})
		},
	}
}

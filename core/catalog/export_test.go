package catalog

// BuiltPlugins is where the plugins lie that TestMain built, for the examples.
func BuiltPlugins() string { return plugins.dir }

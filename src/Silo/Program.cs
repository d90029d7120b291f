using ObjectStore.Silo.Configuration;
using ObjectStore.Silo.Hosting;

namespace ObjectStore.Silo;

/// <summary>The host executable: parse, open, serve, drain. Exit codes: 0 after a drained stop, 1 when it cannot start, 2 for wrong usage.</summary>
internal static class Program
{
    public static async Task<int> Main(string[] arguments)
    {
        try
        {
            string command = arguments.Length == 0 ? "--help" : arguments[0];
            if (arguments.Contains("--help") || command is "help")
            {
                Console.WriteLine(SiloOptions.Help);
                return 0;
            }

            if (arguments.Contains("--version") || command is "version")
            {
                Console.WriteLine($"ObjectStore {typeof(Program).Assembly.GetName().Version?.ToString(3)}, grain runtime {GrainHosting.Name}");
                return 0;
            }

            if (command != "run")
            {
                Console.Error.WriteLine($"objectstore: unknown command '{command}'; see --help");
                return 2;
            }

            SiloOptions options = SiloOptions.Parse(arguments[1..], Environment.GetEnvironmentVariable);
            return options.Roles == SiloRoles.Storage ? await StorageNodeHost.RunAsync(options) : await SiloHost.RunAsync(options);
        }
        catch (StartException e)
        {
            Console.Error.WriteLine($"objectstore: {e.Message}");
            return 1;
        }
    }
}

using ObjectStore.Admin.Cluster;
using ObjectStore.Admin.CommandLine;
using ObjectStore.Admin.Drives;
using ObjectStore.Admin.Durability;
using ObjectStore.Admin.Volumes;
using ObjectStore.Storage;

namespace ObjectStore.Admin;

/// <summary>The operator's tool: finds the command, runs it, and turns what went wrong into one line and an exit code.</summary>
internal static class AdminTool
{
    public static IReadOnlyList<ICommand> Commands { get; } =
    [
        new StatusCommand(),
        new DrivesCommand(),
        .. DriveStateCommand.All,
        new DriveFormatCommand(),
        .. BackgroundCommand.All,
        new DurabilityCommand(),
        new DriveInspectCommand(),
        new RecoverIndexCommand(),
        new VolumeInspectCommand(),
    ];

    public static async Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        if (words.Count == 0 || words[0] is "--help" or "-h" or "help")
        {
            (words.Count == 0 ? context.Error : context.Output).WriteLine(Help());
            return words.Count == 0 ? ExitCode.Usage : ExitCode.Success;
        }

        try
        {
            if (words[0] is "--version" or "version")
            {
                context.Output.WriteLine($"s3-admin {typeof(AdminTool).Assembly.GetName().Version?.ToString(3)}");
                return ExitCode.Success;
            }

            // The longest name first: "drive inspect" before "drive".
            ICommand? command = Commands.Where(command => command.Name.Split(' ').SequenceEqual(words.Take(command.Name.Split(' ').Length)))
                .MaxBy(command => command.Name.Length);
            if (command is null) throw new UsageException(Unknown(words));
            IReadOnlyList<string> rest = [.. words.Skip(command.Name.Split(' ').Length)];
            if (rest.Contains("--help") || rest.Contains("-h"))
            {
                context.Output.WriteLine(command.Help);
                return ExitCode.Success;
            }

            return await command.RunAsync(rest, context, cancellationToken);
        }
        catch (UsageException e)
        {
            context.Error.WriteLine($"s3-admin: {e.Message}");
            return ExitCode.Usage;
        }
        catch (Exception e) when (e is CommandFailedException or StorageException or IOException or UnauthorizedAccessException)
        {
            context.Error.WriteLine($"s3-admin: {e.Message.ReplaceLineEndings(" ")}");
            return ExitCode.Failed;
        }
    }

    private static string Unknown(IReadOnlyList<string> words)
    {
        string[] continuations = [.. Commands.Where(command => command.Name.StartsWith(words[0] + " ", StringComparison.Ordinal)).Select(command => command.Name)];
        return continuations.Length > 0
            ? $"'{string.Join(' ', words.Take(2))}' is no command; use {string.Join(", ", continuations)}"
            : $"unknown command '{words[0]}'; see s3-admin --help";
    }

    private static string Help()
    {
        int width = Commands.Max(command => command.Name.Length);
        return "Usage: s3-admin COMMAND [options]\n\n"
            + string.Join('\n', Commands.Select(command => $"  {command.Name.PadRight(width)}  {command.Summary}"))
            + $"""


            s3-admin COMMAND --help lists the options of one.

            Exit codes: {ExitCode.Success} done, {ExitCode.DamageFound} damage found, {ExitCode.Usage} the command line cannot be used, {ExitCode.Failed} it could not be done.
            """;
    }
}

using ObjectStore.LoadGenerator;

namespace ObjectStore.KillTest;

/// <summary>The command line.</summary>
public sealed record KillTestOptions
{
    /// <summary>The text of --help.</summary>
    public const string Usage = """
        usage: ObjectStore.KillTest [options]
          --server PATH       the server's dll or executable (default: ObjectStore.Silo.dll built beside this program);
                              an executable must be the server itself or start it as a child
          --rounds N          default 50
          --workers N         parallel clients; default 32
          --keys N            keys in use; default 96
          --drives N          drives of the server; default 1
          --volume-size SIZE  as of the server, so that volumes are sealed and compacted meanwhile; default: the server's
          --seed N            default: from the clock; printed
          --start-limit T     longest time from start to the first 200 on /health; default 2s
          --max-load T        the kill comes at a random moment of this time; default 1500ms
          --data DIR          default: a new folder under the temporary folder
          --keep              keep the data afterwards (always kept on a failure)
        Each round: start, load, kill -9, start again, verify. One JSON line on stdout. Exit code 0: nothing lost or torn. 1: something. 2: bad usage.
        """;

    public string? Server { get; init; }
    public int Rounds { get; init; } = 50;
    public int Workers { get; init; } = 32;
    public int Keys { get; init; } = 96;
    public int Drives { get; init; } = 1;
    public string? VolumeSize { get; init; }
    public ulong Seed { get; init; } = (ulong)DateTime.UtcNow.Ticks / 10_000 % 1_000_000_000;
    public TimeSpan StartLimit { get; init; } = TimeSpan.FromSeconds(2);
    public TimeSpan MaxLoad { get; init; } = TimeSpan.FromMilliseconds(1500);
    public string? Data { get; init; }
    public bool Keep { get; init; }

    /// <summary>Parses the command line. Throws ArgumentException with a message for the user.</summary>
    public static KillTestOptions Parse(string[] arguments)
    {
        KillTestOptions options = new();
        for (int i = 0; i < arguments.Length; i++)
        {
            string name = arguments[i];
            string Value() => ++i < arguments.Length ? arguments[i] : throw new ArgumentException($"{name} needs a value.");
            options = name switch
            {
                "--server" => options with { Server = Value() },
                "--rounds" => options with { Rounds = (int)Text.ParseNumber(name, Value(), 1, 100_000) },
                "--workers" => options with { Workers = (int)Text.ParseNumber(name, Value(), 1, 512) },
                "--keys" => options with { Keys = (int)Text.ParseNumber(name, Value(), 1, 100_000) },
                "--drives" => options with { Drives = (int)Text.ParseNumber(name, Value(), 1, 256) },
                "--volume-size" => options with { VolumeSize = Value() },
                "--seed" => options with { Seed = (ulong)Text.ParseNumber(name, Value(), 0, long.MaxValue) },
                "--start-limit" => options with { StartLimit = Text.ParseDuration(name, Value()) },
                "--max-load" => options with { MaxLoad = Text.ParseDuration(name, Value()) },
                "--data" => options with { Data = Value() },
                "--keep" => options with { Keep = true },
                _ => throw new ArgumentException($"Unknown option {name}."),
            };
        }

        return options with { Workers = Math.Min(options.Workers, options.Keys) };
    }
}

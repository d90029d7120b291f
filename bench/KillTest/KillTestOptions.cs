using ObjectStore.LoadGenerator;

namespace ObjectStore.KillTest;

/// <summary>What is under way in the server when it is killed.</summary>
[Flags]
public enum Disturbance
{
    None = 0,
    Repair = 1,
    Drain = 2,
    Compaction = 4,
}

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
          --disturb LIST      what is under way when the kill comes, of repair, drain, compaction, separated by commas, or all; needs 12 drives.
                              repair: the folder of a drive, or before the load those of two, is deleted, and the kill comes while its shards are made
                              elsewhere, or while an empty folder in its place is filled; drain: a drive is drained, or taken back; compaction: a
                              volume is being emptied (its rounds take a minute and more). In the end all is read, scrubbed, and read without
                              each two drives, and what is stored 6+3 without each three. Default: nothing
          --repair-rate SIZE  as of the server, so that repair takes a while; default 4MiB with --disturb
          --repair-limit T    the longest that the pool may take to become whole again; default 300s
          --volume-size SIZE  as of the server, so that volumes are sealed and compacted meanwhile; default: the server's
          --seed N            default: from the clock; printed
          --start-limit T     longest time from start to the first 200 on /health; default 2s, 5s with --disturb
          --max-load T        the kill comes at a random moment of this time; default 1500ms
          --data DIR          default: a new folder under the temporary folder
          --keep              keep the data afterwards (always kept on a failure)
        Each round: start, load, kill -9, start again, verify. One JSON line on stdout. Exit code 0: nothing lost or torn. 1: something. 2: bad usage.
        """;

    private const int MinDisturbedDrives = 12;

    /// <summary>With drives that are away a server may say SlowDown; without it may not.</summary>
    public TimeSpan SlowDownPatience => Disturb == Disturbance.None ? TimeSpan.Zero : TimeSpan.FromSeconds(60);

    public string? Server { get; init; }
    public int Rounds { get; init; } = 50;
    public int Workers { get; init; } = 32;
    public int Keys { get; init; } = 96;
    public int Drives { get; init; } = 1;
    public Disturbance Disturb { get; init; }
    public string? RepairRate { get; init; }
    public TimeSpan RepairLimit { get; init; } = TimeSpan.FromSeconds(300);
    public string? VolumeSize { get; init; }
    public ulong Seed { get; init; } = (ulong)DateTime.UtcNow.Ticks / 10_000 % 1_000_000_000;
    public TimeSpan? StartLimit { get; init; }
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
                "--disturb" => options with { Disturb = ParseDisturbance(Value()) },
                "--repair-rate" => options with { RepairRate = Value() },
                "--repair-limit" => options with { RepairLimit = Text.ParseDuration(name, Value()) },
                "--volume-size" => options with { VolumeSize = Value() },
                "--seed" => options with { Seed = (ulong)Text.ParseNumber(name, Value(), 0, long.MaxValue) },
                "--start-limit" => options with { StartLimit = Text.ParseDuration(name, Value()) },
                "--max-load" => options with { MaxLoad = Text.ParseDuration(name, Value()) },
                "--data" => options with { Data = Value() },
                "--keep" => options with { Keep = true },
                _ => throw new ArgumentException($"Unknown option {name}."),
            };
        }

        if (options.Disturb != Disturbance.None)
        {
            if (options.Drives < MinDisturbedDrives) throw new ArgumentException($"--disturb needs --drives {MinDisturbedDrives} or more: with one drained and two lost nine are left.");
            options = options with { VolumeSize = options.VolumeSize ?? "16MiB", RepairRate = options.RepairRate ?? "4MiB" };
        }

        return options with
        {
            Workers = Math.Min(options.Workers, options.Keys),
            StartLimit = options.StartLimit ?? TimeSpan.FromSeconds(options.Disturb == Disturbance.None ? 2 : 5),
        };
    }

    private static Disturbance ParseDisturbance(string text) => text.Split(',').Aggregate(Disturbance.None, (all, word) => all | word switch
    {
        "repair" => Disturbance.Repair,
        "drain" => Disturbance.Drain,
        "compaction" => Disturbance.Compaction,
        "all" => Disturbance.Repair | Disturbance.Drain | Disturbance.Compaction,
        _ => throw new ArgumentException($"--disturb holds '{word}'; use repair, drain, compaction or all."),
    });
}

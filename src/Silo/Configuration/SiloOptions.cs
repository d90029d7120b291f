using System.Globalization;
using System.Net;

namespace ObjectStore.Silo.Configuration;

/// <summary>What the command line and the environment say. Unknown options are refused.</summary>
internal sealed class SiloOptions
{
    public const string Help = """
        Usage: objectstore run [options]

        Starts a store that speaks S3, or, with --roles storage, a node that serves drives to one.

          --data DIR            The folder of metadata, credentials and, unless --drives is given, bytes. Default: ./data
          --drives LIST         The folders of the drives, separated by commas; {1...4} counts. Default: DIR/drives/1
          --listen URL          Where to listen: http://ADDRESS:PORT. Port 0 takes a free one. Default: http://127.0.0.1:9000
          --roles LIST          What this process is: silo,gateway,storage (the whole store) or storage (drives for other processes).
                                Default: silo,gateway,storage
          --data-listen URL     Where drives are served to other nodes: http://ADDRESS:PORT. Port 0 takes a free one. Needed by --roles storage
          --storage-nodes LIST  The storage nodes whose drives are used beside those of this process: http://HOST:PORT, separated by commas
          --cluster-secret-file FILE  What the nodes of a cluster share, at least 16 characters; only its owner may read it (chmod 600).
                                `openssl rand -hex 32` makes one
          --cluster-id GUID     The cluster that a new data folder belongs to. Default: told by the secret, so that nodes with the same one agree
          --domain NAME         A domain under which a bucket is a subdomain (virtual-host style); may be repeated.
          --region NAME         The region that buckets are made in unless the client names one. Default: us-east-1
          --volume-size SIZE    The size of a volume file, for example 1GiB. Default: 1GiB
          --format-new-drives   Make a drive of every folder of --drives that is empty. Without it only the first start does: at a later one such a folder is
                                rather a drive that is not mounted. `s3-admin drive format` makes a drive of one folder while the node runs
          --headroom SIZE       Free space on each drive that objects never take. Default: 256MiB or 1 % of the drive, whichever is more
          --topology FILE       Where drives stand: region, zone, rack, host and weight (docs/topology.md). Default: all in this machine
          --scheme CLASS=S/L@SIZE  The schemes of a storage class, small parts as copies and large ones as copies or data+parity shards, for example
                                STANDARD=3/6+3, and from which size a part is large, 1KiB to 1MiB, 128KiB where @SIZE is left out; may be repeated.
                                The start is refused with fewer drives than it needs, those of storage nodes included. Default: STANDARD=3/6+3, STANDARD_IA=3/10+4, GLACIER and DEEP_ARCHIVE=3/17+3, narrowed to the drives there are
          --down-out-after TIME How long a drive may be down before its bytes are rebuilt elsewhere, in seconds. Default: 600
          --scrub-period TIME   In what time every fragment is read and verified once, in seconds, 60 or more; those of storage nodes are
                                read over the network. Default: 1209600, 14 days
          --repair-rate SIZE    What repair may write in a second, 1KiB or more, for example 200MiB. Default: as much as the drives have to spare
          --garbage-grace TIME  How long bytes that no version names any more are kept for reads under way, in seconds. Default: 900
          --drain-timeout TIME  How long requests in flight may take to end after Ctrl-C or SIGTERM, in seconds, up to a day. Closing everything takes 15 s more at
                                most, also with drives that hang. Default: 10
          --log-level LEVEL     trace, debug, information, warning or error. Default: information
          --log-format FORMAT   text or json. Default: text
          --version             Print the version and the grain runtime, and stop.
          --help                Print this, and stop.

        Environment:
          OBJECTSTORE_ACCESS_KEY, OBJECTSTORE_SECRET_KEY   The access key and its secret, instead of those in DIR/credentials.json.
                                                           Both or neither; at least 3 and 8 characters.
          OBJECTSTORE_CLUSTER_SECRET                       The cluster's secret itself, instead of --cluster-secret-file.
        """;

    public string DataPath { get; private set; } = "data";

    public IReadOnlyList<string> DrivePaths { get; private set; } = [];

    public IPAddress Address { get; private set; } = IPAddress.Loopback;

    public int Port { get; private set; } = 9000;

    public SiloRoles Roles { get; private set; } = SiloRoles.All;

    /// <summary>Null where drives are not served to other nodes.</summary>
    public IPEndPoint? DataListen { get; private set; }

    public IReadOnlyList<Uri> StorageNodes { get; private set; } = [];

    public string? ClusterSecretFile { get; private set; }

    /// <summary>The secret itself, from the environment. Never printed.</summary>
    public string? ClusterSecretText { get; private set; }

    public Guid? ClusterId { get; private set; }

    public List<string> Domains { get; } = [];

    public string Region { get; private set; } = "us-east-1";

    /// <summary>Whether empty drive folders become drives at a start that is not the first.</summary>
    public bool FormatNewDrives { get; private set; }

    public long VolumeSizeBytes { get; private set; } = 1L << 30;

    public long? HeadroomBytes { get; private set; }

    /// <summary>Absolute; null where all drives are in this machine.</summary>
    public string? TopologyPath { get; private set; }

    public SchemeOptions Schemes { get; } = new();

    public TimeSpan DownOutAfter { get; private set; } = TimeSpan.FromMinutes(10);

    public TimeSpan ScrubPeriod { get; private set; } = TimeSpan.FromDays(14);

    /// <summary>Null where repair is bounded by foreground latency alone.</summary>
    public long? RepairBytesPerSecond { get; private set; }

    public TimeSpan GarbageGrace { get; private set; } = TimeSpan.FromMinutes(15);

    public TimeSpan DrainTimeout { get; private set; } = TimeSpan.FromSeconds(10);

    public LogLevel LogLevel { get; private set; } = LogLevel.Information;

    public bool JsonLogs { get; private set; }

    public string? AccessKey { get; private set; }

    public string? SecretKey { get; private set; }

    /// <summary>Parses the words behind <c>run</c>.</summary>
    /// <exception cref="StartException">An option is unknown or its value cannot be used; the message names both and the remedy.</exception>
    public static SiloOptions Parse(IReadOnlyList<string> arguments, Func<string, string?> environment)
    {
        SiloOptions options = new();
        string? drives = null;
        HashSet<string> given = [];
        for (int i = 0; i < arguments.Count; i++)
        {
            string name = arguments[i];
            string? value = null;
            int equals = name.IndexOf('=', StringComparison.Ordinal);
            if (name.StartsWith("--", StringComparison.Ordinal) && equals > 0) (name, value) = (name[..equals], name[(equals + 1)..]);
            given.Add(name);
            string Value() => (value ?? (++i < arguments.Count ? arguments[i] : "")) is { Length: > 0 } given ? given : throw new StartException($"{name} needs a value; see --help");
            switch (name)
            {
                case "--data": options.DataPath = Value(); break;
                case "--drives": drives = Value(); break;
                case "--listen": (options.Address, options.Port) = ParseListen(name, Value()); break;
                case "--roles": options.Roles = ParseRoles(Value()); break;
                case "--data-listen":
                    (IPAddress dataAddress, int dataPort) = ParseListen(name, Value());
                    options.DataListen = new IPEndPoint(dataAddress, dataPort);
                    break;
                case "--storage-nodes": options.StorageNodes = ParseNodes(Value()); break;
                case "--cluster-secret-file": options.ClusterSecretFile = Path.GetFullPath(Value()); break;
                case "--cluster-id":
                    string id = Value();
                    options.ClusterId = Guid.TryParse(id, out Guid cluster) && cluster != Guid.Empty ? cluster : throw new StartException($"--cluster-id is '{id}'; use a GUID");
                    break;
                case "--domain": options.Domains.Add(Value().ToLowerInvariant()); break;
                case "--region": options.Region = Value(); break;
                case "--volume-size": options.VolumeSizeBytes = ParseSize(name, Value()); break;
                case "--format-new-drives":
                    options.FormatNewDrives = value is null ? true : throw new StartException($"--format-new-drives is '{value}'; it takes no value");
                    break;
                case "--headroom": options.HeadroomBytes = ParseSize(name, Value()); break;
                case "--topology": options.TopologyPath = Path.GetFullPath(Value()); break;
                case "--scheme": options.Schemes.Add(Value()); break;
                case "--down-out-after": options.DownOutAfter = ParseSecondsAboveZero(name, Value()); break;
                case "--scrub-period":
                    options.ScrubPeriod = ParseSeconds(name, Value()) is { TotalSeconds: >= 60 } period ? period : throw new StartException("--scrub-period is below 60; use a number of seconds from there on");
                    break;
                case "--repair-rate":
                    options.RepairBytesPerSecond = ParseSize(name, Value()) is >= 1024 and long rate ? rate : throw new StartException("--repair-rate is below 1KiB; use a size from there on, for example 200MiB");
                    break;
                case "--garbage-grace": options.GarbageGrace = ParseSeconds(name, Value()); break;
                case "--drain-timeout":
                    options.DrainTimeout = ParseSeconds(name, Value()) is { TotalDays: <= 1 } drain ? drain : throw new StartException("--drain-timeout is above 86400, which is a day; use a number of seconds up to that");
                    break;
                case "--log-level":
                    string level = Value();
                    options.LogLevel = Enum.TryParse(level, ignoreCase: true, out LogLevel parsed) && Enum.IsDefined(parsed)
                        ? parsed
                        : throw new StartException($"--log-level is '{level}'; use trace, debug, information, warning or error");
                    break;
                case "--log-format":
                    string format = Value();
                    options.JsonLogs = format switch { "json" => true, "text" => false, _ => throw new StartException($"--log-format is '{format}'; use text or json") };
                    break;
                default:
                    throw new StartException($"unknown option '{name}'; see --help");
            }
        }

        options.DataPath = Path.GetFullPath(options.DataPath);
        options.DrivePaths = drives is null ? [Path.Combine(options.DataPath, "drives", "1")] : [.. Expand(drives).Select(Path.GetFullPath)];
        options.AccessKey = NullIfEmpty(environment("OBJECTSTORE_ACCESS_KEY"));
        options.SecretKey = NullIfEmpty(environment("OBJECTSTORE_SECRET_KEY"));
        if (options.AccessKey is null != options.SecretKey is null)
        {
            throw new StartException("set both OBJECTSTORE_ACCESS_KEY and OBJECTSTORE_SECRET_KEY, or neither");
        }

        if (options.AccessKey is { } key && (key.Length < 3 || key.AsSpan().ContainsAny("/=, ") || options.SecretKey!.Length < 8))
        {
            throw new StartException("OBJECTSTORE_ACCESS_KEY needs at least 3 characters without '/', '=', ',' and space, OBJECTSTORE_SECRET_KEY at least 8");
        }

        options.ClusterSecretText = NullIfEmpty(environment("OBJECTSTORE_CLUSTER_SECRET"));
        RequireRolesFit(options, given);
        return options;
    }

    /// <summary>What the roles need, and what means nothing to them: said at the start, not found out later.</summary>
    private static void RequireRolesFit(SiloOptions options, HashSet<string> given)
    {
        if (options.ClusterSecretFile is not null && options.ClusterSecretText is not null)
        {
            throw new StartException("set --cluster-secret-file or OBJECTSTORE_CLUSTER_SECRET, not both");
        }

        bool hasSecret = options.ClusterSecretFile is not null || options.ClusterSecretText is not null;
        if (options.Roles == SiloRoles.Storage)
        {
            if (options.DataListen is null) throw new StartException("--roles storage needs --data-listen http://ADDRESS:PORT, where other nodes reach its drives");
            foreach (string option in new[] { "--listen", "--domain", "--region", "--garbage-grace", "--storage-nodes", "--topology", "--scheme", "--down-out-after", "--scrub-period", "--repair-rate" })
            {
                if (given.Contains(option)) throw new StartException($"{option} means nothing to --roles storage; give it to the node with all roles");
            }
        }

        if (hasSecret) return;
        foreach (string option in new[] { "--data-listen", "--storage-nodes" })
        {
            if (given.Contains(option)) throw new StartException($"{option} needs the cluster's secret: --cluster-secret-file, or OBJECTSTORE_CLUSTER_SECRET");
        }
    }

    private static SiloRoles ParseRoles(string text)
    {
        SiloRoles roles = default;
        foreach (string role in text.Split(',', StringSplitOptions.TrimEntries))
        {
            roles |= role switch
            {
                "silo" => SiloRoles.Silo,
                "gateway" => SiloRoles.Gateway,
                "storage" => SiloRoles.Storage,
                _ => throw new StartException($"--roles holds '{role}'; the roles are silo, gateway and storage"),
            };
        }

        return roles is SiloRoles.All or SiloRoles.Storage
            ? roles
            : throw new StartException($"--roles is '{text}'; this combination is not built. Use silo,gateway,storage or storage");
    }

    private static IReadOnlyList<Uri> ParseNodes(string text)
    {
        List<Uri> nodes = [];
        foreach (string item in text.Split(',', StringSplitOptions.TrimEntries))
        {
            if (!Uri.TryCreate(item, UriKind.Absolute, out Uri? uri) || uri.Scheme != "http" || uri.PathAndQuery != "/" || uri.Port == 0 || uri.UserInfo.Length > 0 || uri.Fragment.Length > 0)
            {
                throw new StartException($"--storage-nodes holds '{item}'; use http://HOST:PORT, separated by commas");
            }

            if (nodes.Contains(uri)) throw new StartException($"--storage-nodes names {uri.GetLeftPart(UriPartial.Authority)} twice");
            nodes.Add(uri);
        }

        return nodes;
    }

    /// <summary>Expands a list of folders: commas separate, <c>{1...4}</c> counts.</summary>
    /// <exception cref="StartException">It cannot be counted; the message begins with <paramref name="name"/>.</exception>
    internal static IEnumerable<string> Expand(string list, string name = "--drives")
    {
        foreach (string item in list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            int open = item.IndexOf('{', StringComparison.Ordinal);
            int close = item.IndexOf('}', StringComparison.Ordinal);
            if (open < 0 || close < open)
            {
                yield return item;
                continue;
            }

            string[] ends = item[(open + 1)..close].Split("...");
            if (ends.Length != 2 || !int.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out int first)
                || !int.TryParse(ends[1], NumberStyles.None, CultureInfo.InvariantCulture, out int last) || last < first || last - first >= 1024)
            {
                throw new StartException($"{name} holds '{item}'; count with {{1...4}}");
            }

            for (int n = first; n <= last; n++) yield return item[..open] + n.ToString(CultureInfo.InvariantCulture) + item[(close + 1)..];
        }
    }

    private static (IPAddress Address, int Port) ParseListen(string name, string text)
    {
        if (Uri.TryCreate(text, UriKind.Absolute, out Uri? uri) && uri.Scheme == "http" && uri.AbsolutePath == "/")
        {
            if (uri.Host == "localhost") return (IPAddress.Loopback, uri.Port);
            if (IPAddress.TryParse(uri.Host.Trim('[', ']'), out IPAddress? address)) return (address, uri.Port);
        }

        throw new StartException($"{name} is '{text}'; use http://ADDRESS:PORT, for example http://127.0.0.1:9000");
    }

    private static long ParseSize(string name, string text) =>
        TryParseSize(text) ?? throw new StartException($"{name} is '{text}'; use a number of bytes, or one with KiB, MiB, GiB or TiB");

    /// <summary>Reads "1000" and "64KiB". Null where it is no size.</summary>
    internal static long? TryParseSize(string text)
    {
        (string Suffix, int Shift)[] units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
        foreach ((string suffix, int shift) in units)
        {
            if (!text.EndsWith(suffix, StringComparison.OrdinalIgnoreCase)) continue;
            return long.TryParse(text.AsSpan(0, text.Length - suffix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number <= long.MaxValue >> shift ? number << shift : null;
        }

        return null;
    }

    private static TimeSpan ParseSeconds(string name, string text) =>
        double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double seconds) && seconds <= 1e8
            ? TimeSpan.FromSeconds(seconds)
            : throw new StartException($"{name} is '{text}'; use a number of seconds");

    private static TimeSpan ParseSecondsAboveZero(string name, string text) =>
        ParseSeconds(name, text) is { Ticks: > 0 } time ? time : throw new StartException($"{name} is '{text}'; use a number of seconds above 0");

    private static string? NullIfEmpty(string? text) => string.IsNullOrEmpty(text) ? null : text;
}

/// <summary>What a process does.</summary>
[Flags]
internal enum SiloRoles
{
    /// <summary>Metadata: grains.</summary>
    Silo = 1,

    /// <summary>S3.</summary>
    Gateway = 2,

    /// <summary>Drives.</summary>
    Storage = 4,
    All = Silo | Gateway | Storage,
}

/// <summary>The process cannot start. The message is one clear line for the operator.</summary>
internal sealed class StartException(string message, Exception? inner = null) : Exception(message, inner);

using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using ObjectStore.Admin.Cluster;
using ObjectStore.Admin.CommandLine;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Admin.Durability;

/// <summary><c>s3-admin durability</c>.</summary>
internal sealed partial class DurabilityCommand : ICommand
{
    public string Name => "durability";

    public string Summary => "How many nines a year each storage class has, and what sharing hosts costs";

    public string Help => """
        Usage: s3-admin durability [options]

        Computes the annual durability of an object for each storage class: a Markov chain of one placement group, from drive failures, host losses and the time
        a repair takes. docs/durability.md has the model, its sources and its assumptions.

          --afr RATE             Failures in a drive-year, as 0.015 or 1.5%. Default: 0.015
          --drive-size SIZE      Bytes on a drive that repair rebuilds, for example 16TB. Default: 16TB
          --repair-rate RATE     Bytes a second at which a lost drive is rebuilt. Default: 500MB, an aim and no measurement
          --out-after TIME       From the loss of a drive to the beginning of its repair. Default: 10m, as the server; never taken from a node
          --repair-time TIME     The whole time instead of the three above, for example 6.5d
          --repair KIND          single: lost shards of a group share the rate, one after another. parallel: each has it to itself. Default: single
          --endpoint URL         A running node: take the rate of repair from its metrics and, with its token, drives, their size, hosts and classes from its status, where it has them and
                                 no option says otherwise
          --token-file FILE      The file admin.token of the node's data folder. Default: OBJECTSTORE_ADMIN_TOKEN, or ./data/admin.token; without one, its metrics alone are read
          --allow-plaintext      Send the token by http to another machine
          --drives N             Drives of the pool; fewer than a scheme's width narrows it. Default: 36
          --hosts N              Hosts (or racks, whatever is lost at once) that the drives are in, with the shards of a group spread over them as evenly as may be. Default: 12; with --endpoint and
                                 its token the fullest hosts of the worst placement group of each width
          --host-afr RATE        Hosts lost for good, with their drives, in a host-year. Default: 0.002, an assumption; 0 is never
          --groups N             Placement groups of a scheme. Default: 1024, as a pool has of each width
          --scheme K+M           A scheme instead of those of the storage classes; may be repeated. 3x is three copies
          --bit-error-rate P     Unreadable bits per bit read, as 1e-15. Default: latent errors are left out
          --scrub-period TIME    With --bit-error-rate: every byte is verified once in this time. Default: 14d
          --read-rate RATE       With --bit-error-rate: mean bytes a second read from a drive. Default: 3.75MB
          --object-size SIZE     With --bit-error-rate: bytes of the object. Default: 1MiB
          --format FORMAT        text or json. Default: text
          --help                 Print this, and stop.
        """;

    private static readonly string[] Options =
    [
        "--afr", "--drive-size", "--repair-rate", "--out-after", "--repair-time", "--repair", "--endpoint", "--token-file", "--drives", "--hosts", "--host-afr", "--groups", "--scheme",
        "--bit-error-rate", "--scrub-period", "--read-rate", "--object-size", "--format",
    ];

    public async Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        Arguments arguments = Arguments.Parse(words, Options, AdminClient.Flags);
        arguments.RefuseWords();
        bool json = arguments.WantsJson();
        DurabilityInputs inputs = Read(arguments);
        if (arguments.Value("--endpoint") is { } url)
        {
            using HttpClient http = context.NewHttpClient();
            inputs = Take(inputs, arguments, await MetricsSource.MeasureAsync(http, Quantities.Endpoint("--endpoint", url), cancellationToken));
            if (AdminClient.HasToken(arguments, context))
            {
                using AdminClient client = AdminClient.Open(arguments, context);
                inputs = PoolSource.Take(inputs, arguments, await client.GetAsync(AdminApi.Status, AdminApiJson.Default.ClusterStatus, cancellationToken), url);
            }
        }

        Check(inputs);
        DurabilityReport report;
        try
        {
            report = DurabilityReport.Make(inputs);
        }
        catch (NotSupportedException e)
        {
            throw new UsageException($"--scheme and --hosts are too wide together: {e.Message} Use fewer or more hosts");
        }

        if (json) context.Output.WriteLine(JsonSerializer.Serialize(ToJson(report), AdminJson.Default.DurabilityJson));
        else Print(report, context.Output);
        return ExitCode.Success;
    }

    private static DurabilityInputs Read(Arguments arguments)
    {
        DurabilityInputs defaults = new();
        foreach (string option in (string[])["--scrub-period", "--read-rate", "--object-size"])
        {
            if (arguments.Value(option) is { } unused && arguments.Value("--bit-error-rate") is null) throw new UsageException($"{option} is '{unused}' without --bit-error-rate; give that too, for example 1e-15");
        }

        if (arguments.Value("--repair-time") is not null)
        {
            foreach (string option in (string[])["--repair-rate", "--out-after"])
            {
                if (arguments.Value(option) is not null) throw new UsageException($"{option} says what --repair-time says already; give one of them");
            }
        }

        return defaults with
        {
            AnnualFailureRate = arguments.Value("--afr", Quantities.AnnualRate, defaults.AnnualFailureRate),
            DriveBytes = arguments.Value("--drive-size", Quantities.Bytes, defaults.DriveBytes),
            RepairBytesPerSecond = arguments.Value("--repair-rate", Quantities.BytesPerSecond, defaults.RepairBytesPerSecond),
            RepairRateSource = arguments.Value("--repair-time") is not null ? "--repair-time" : arguments.Value("--repair-rate") is not null ? "--repair-rate" : "the default of --repair-rate, not measured",
            OutAfter = arguments.Value("--out-after", Quantities.Duration, defaults.OutAfter),
            RepairTimeGiven = arguments.Value("--repair-time") is { } time ? Quantities.Duration("--repair-time", time) : null,
            Repair = arguments.Value("--repair") switch
            {
                null or "single" => RepairDiscipline.Single,
                "parallel" => RepairDiscipline.Parallel,
                { } other => throw new UsageException($"--repair is '{other}'; use single or parallel"),
            },
            Drives = arguments.Value("--drives", Quantities.Count, defaults.Drives),
            Hosts = arguments.Value("--hosts", Quantities.Count, Math.Min(defaults.Hosts, arguments.Value("--drives", Quantities.Count, defaults.Drives))),
            HostAnnualFailureRate = arguments.Value("--host-afr", Quantities.AnnualRateOrZero, defaults.HostAnnualFailureRate),
            Groups = arguments.Value("--groups", Quantities.Count, defaults.Groups),
            BitErrorRate = arguments.Value("--bit-error-rate") is { } rate ? Quantities.Probability("--bit-error-rate", rate) : null,
            ScrubPeriod = arguments.Value("--scrub-period", Quantities.Duration, defaults.ScrubPeriod),
            DriveReadBytesPerSecond = arguments.Value("--read-rate", Quantities.BytesPerSecond, defaults.DriveReadBytesPerSecond),
            ObjectBytes = arguments.Value("--object-size", Quantities.Bytes, defaults.ObjectBytes),
            Schemes = [.. arguments.Values("--scheme").Select(ParseScheme)],
        };
    }

    /// <summary>What was measured, where the command line does not say otherwise.</summary>
    private static DurabilityInputs Take(DurabilityInputs inputs, Arguments arguments, MeasuredRepair measured)
    {
        int drives = arguments.Value("--drives") is null && measured.Drives is { } counted ? counted : inputs.Drives;
        return inputs with
        {
            RepairBytesPerSecond = arguments.Value("--repair-rate") is null && measured.BytesPerSecond is { } rate ? rate : inputs.RepairBytesPerSecond,
            RepairRateSource = arguments.Value("--repair-rate") is not null || arguments.Value("--repair-time") is not null ? inputs.RepairRateSource : measured.BytesPerSecond is null ? $"{inputs.RepairRateSource}: {measured.Source}" : measured.Source,
            DriveBytes = arguments.Value("--drive-size") is null && measured.DriveBytes is { } size ? size : inputs.DriveBytes,
            Drives = drives,
            Hosts = arguments.Value("--hosts") is null ? Math.Min(inputs.Hosts, drives) : inputs.Hosts,
            PoolSource = "the node's own drives; hosts and classes are NOT those of the pool, which takes the node's token (--token-file)",
        };
    }

    private static void Check(DurabilityInputs inputs)
    {
        if (inputs.Hosts > inputs.Drives) throw new UsageException($"--hosts is {inputs.Hosts} with {inputs.Drives} drives; a host has one drive at least, so use {inputs.Drives} or fewer");
        if (inputs.RepairTime > TimeSpan.FromDays(3650)) throw new UsageException($"the repair takes {inputs.RepairTime.TotalDays:0} days; check --drive-size, --repair-rate and --repair-time");
    }

    private static Scheme ParseScheme(string text) => TryParseScheme(text)
        ?? throw new UsageException($"--scheme is '{text}'; use K+M with parity and at most {Scheme.MaxShards} in all, for example 6+3, or 3x for copies");

    /// <summary>K+M, 3x, or as <see cref="Scheme.ToString"/> writes it; null where there is no such scheme.</summary>
    internal static Scheme? TryParseScheme(string text)
    {
        Match match = SchemeText().Match(text);
        int Number(string group) => int.TryParse(match.Groups[group].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : int.MaxValue / 2;
        try
        {
            if (match.Groups["copies"].Success) return Scheme.Copies(Number("copies"));
            if (match.Groups["data"].Success) return new Scheme(Number("data"), Number("parity"));
        }
        catch (ArgumentException)
        {
        }

        return null;
    }

    private static void Print(DurabilityReport report, TextWriter output)
    {
        DurabilityInputs inputs = report.Inputs;
        output.WriteLine($"Annual durability of an object ({inputs.Drives} drives in {inputs.Hosts} hosts)");
        output.WriteLine($"  source of drives, hosts and classes: {inputs.PoolSource}");
        output.WriteLine();
        TextTable schemes = new("class", "size", "scheme", "shards/host", "nines", "object lost a year", "groups lost a year", "a group lasts (years)");
        foreach (SchemeDurability row in report.Schemes)
        {
            schemes.Add(
                row.StorageClass, row.Sizes, row.IsNarrowed ? $"{row.Scheme} (asked for {row.Asked})" : row.Scheme.ToString(), Whole(row.ShardsPerHost), Nines(row.Nines),
                row.ObjectLoss.ToString(), row.GroupsLostPerYear.ToString(), row.MeanYearsToLoss.ToString());
        }

        schemes.Print(output, "  ");
        if (report.Schemes.Any(row => row.IsNarrowed))
        {
            output.WriteLine();
            output.WriteLine($"NARROWED: {inputs.Drives} drives are too few for some schemes; what is computed is the narrower one that the store uses instead.");
        }

        output.WriteLine();
        output.WriteLine($"What sharing hosts costs (a host is lost, with its drives, {inputs.HostAnnualFailureRate.ToString("0.#####", CultureInfo.InvariantCulture)} times a year)");
        output.WriteLine();
        TextTable domains = new("scheme", "spread", "nines", "object lost a year");
        foreach (DomainDurability row in report.Domains) domains.Add(row.Scheme.ToString(), row.Spread, Nines(row.Nines), row.ObjectLoss.ToString());
        domains.Print(output, "  ");
        output.WriteLine();
        output.WriteLine("Repair of a lost drive");
        output.WriteLine();
        output.WriteLine(inputs.RepairTimeGiven is null
            ? $"  {Quantities.Show(inputs.RepairTime)}: {Quantities.Show(inputs.OutAfter)} until it begins, then {Quantities.Show(inputs.DriveBytes)} at {Quantities.Show(inputs.RepairBytesPerSecond)}/s"
            : $"  {Quantities.Show(inputs.RepairTime)}");
        output.WriteLine($"  source of the rate: {inputs.RepairRateSource}");
        output.WriteLine();
        output.WriteLine("Check: Backblaze's published window calculation on the same drives, hosts never lost");
        output.WriteLine();
        foreach (SchemeDurability row in report.Schemes.DistinctBy(row => row.Scheme)) output.WriteLine($"  {row.Scheme}: {Nines(row.WindowNines)} nines ({row.Window})");
        output.WriteLine();
        output.WriteLine("Assumptions (docs/durability.md)");
        output.WriteLine();
        foreach (string assumption in Assumptions(inputs)) output.WriteLine("  * " + assumption);
    }

    private static IEnumerable<string> Assumptions(DurabilityInputs inputs)
    {
        yield return $"Drives fail independently, {inputs.AnnualFailureRate.ToString("0.#####", CultureInfo.InvariantCulture)} times a drive-year, at times that are exponential, and so are repairs; batches, wear and firmware are left out.";
        yield return inputs.HostAnnualFailureRate > 0
            ? "The loss of a host takes every shard in it at once. Hosts fail independently of each other and of drives. An outage that ends loses nothing."
            : "No host is ever lost.";
        if (inputs.HostAnnualFailureRate > 0 && inputs.Drives > inputs.Hosts)
            yield return $"A lost host is repaired as fast as a lost drive, though it has about {Whole((inputs.Drives + inputs.Hosts - 1) / inputs.Hosts)} drives: where they share one rate, give --repair-time for a whole host.";
        yield return inputs.Repair == RepairDiscipline.Single
            ? "Lost shards of a group are rebuilt one after another; nothing is gained from repairing the groups in danger first, though the store does."
            : "Each lost shard is rebuilt as fast as if it were the only one.";
        yield return inputs.BitErrorRate is { } rate
            ? $"Latent errors: {rate:0.##E+0} for each bit read, {Quantities.Show(inputs.DriveReadBytesPerSecond)}/s read from each drive, mended by a scrub every {Quantities.Show(inputs.ScrubPeriod)}; the object has {Quantities.Show(inputs.ObjectBytes)}."
            : "No latent errors: every shard that is not lost can be read. Give --bit-error-rate to count them.";
        yield return "An object is whole from its acknowledgement on, though a write that met a drive which was slow or away has k + 1 fragments (of copies more than half) until repair has made the others.";
        yield return "The metadata is not in the model. It is one database on the node with all roles, and its loss loses every object: see docs/operations.md for backups.";
        yield return "Software, operators and whoever holds the keys lose more data than drives do; no chain of drives knows of them.";
        yield return "An object in several groups has the sum of their risks. Groups lost a year is the sum over all groups.";
    }

    private static DurabilityJson ToJson(DurabilityReport report)
    {
        DurabilityInputs inputs = report.Inputs;
        return new DurabilityJson(
            new DurabilityInputsJson(
                inputs.AnnualFailureRate, inputs.DriveBytes, inputs.RepairTimeGiven is null ? inputs.RepairBytesPerSecond : null, inputs.RepairRateSource, inputs.RepairTime.TotalSeconds,
                inputs.Repair == RepairDiscipline.Single ? "single" : "parallel", inputs.Drives, inputs.Hosts, inputs.HostAnnualFailureRate, inputs.Groups, inputs.BitErrorRate,
                inputs.BitErrorRate is null ? null : inputs.ScrubPeriod.TotalSeconds, inputs.PoolSource),
            [.. report.Schemes.Select(row => new SchemeJson(
                row.StorageClass == "-" ? null : row.StorageClass, row.Sizes, row.Asked.ToString(), row.Scheme.ToString(), row.IsNarrowed, row.Hosts, row.ShardsPerHost, row.Nines, row.ObjectLoss.Log10,
                row.GroupsLostPerYear.Log10, row.PoolLoss.Log10, row.MeanYearsToLoss.Log10, row.WindowNines))],
            [.. report.Domains.Select(row => new DomainJson(row.Scheme.ToString(), row.Spread, row.Hosts, row.ShardsPerHost, row.Nines, row.ObjectLoss.Log10))],
            [.. Assumptions(inputs)]);
    }

    private static string Nines(double nines) => nines.ToString("0.0", CultureInfo.InvariantCulture);

    private static string Whole(int number) => number.ToString(CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^(?:(?<data>\d+)\+(?<parity>\d+)|(?<copies>\d+)(?:x| copy| copies))$")]
    private static partial Regex SchemeText();
}

/// <summary>What <c>--format json</c> prints. Probabilities are decimal logarithms, since a double holds none below 1e-308.</summary>
internal sealed record DurabilityJson(DurabilityInputsJson Inputs, SchemeJson[] Schemes, DomainJson[] Domains, string[] Assumptions);

internal sealed record DurabilityInputsJson(
    double AnnualFailureRate, double DriveBytes, double? RepairBytesPerSecond, string RepairRateSource, double RepairSeconds, string Repair, int Drives, int Hosts, double HostAnnualFailureRate,
    int Groups, double? BitErrorRate, double? ScrubPeriodSeconds, string PoolSource);

internal sealed record SchemeJson(
    string? StorageClass, string Sizes, string Asked, string Scheme, bool Narrowed, int Hosts, int ShardsPerHost, double Nines, double ObjectLossLog10, double GroupsLostPerYearLog10, double PoolLossLog10,
    double MeanYearsToLossLog10, double WindowNines);

internal sealed record DomainJson(string Scheme, string Spread, int Hosts, int ShardsPerHost, double Nines, double ObjectLossLog10);

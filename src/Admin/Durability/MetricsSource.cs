using System.Globalization;
using ObjectStore.Admin.CommandLine;

namespace ObjectStore.Admin.Durability;

/// <summary>What a node's /metrics says about its repair. Names that are not there leave their value null.</summary>
/// <param name="RebuiltBytes">Since the node started.</param>
/// <param name="Source">Words for people: which metrics, from where.</param>
internal sealed record MeasuredRepair(double? BytesPerSecond, double? RebuiltBytes, double? DriveBytes, int? Drives, string Source);

/// <summary>Reads the rate of repair, and the drives, from the text that a node gives at /metrics. Tolerant: a name that is missing is no error.</summary>
internal static class MetricsSource
{
    // Of each list the first that is there and not zero counts. Bytes are those of fragments rebuilt, seconds those in which repair was at work.
    private static readonly string[] Rates = ["objectstore_repair_rate_bytes", "objectstore_repair_rate_bytes_per_second", "objectstore_repair_bytes_per_second"];
    private static readonly string[] Bytes = ["objectstore_repair_bytes_rebuilt_bytes_total", "objectstore_repair_bytes_rebuilt_total", "objectstore_repair_bytes_total"];
    private static readonly string[] Seconds =
        ["objectstore_repair_active_seconds_total", "objectstore_repair_busy_seconds_total", "objectstore_repair_seconds_total", "objectstore_repair_duration_seconds_sum"];

    private static readonly string[] Capacities = ["objectstore_drive_capacity_bytes", "objectstore_drives_capacity_bytes", "objectstore_storage_drive_capacity_bytes"];

    /// <summary>Where the node counts rebuilt bytes and not the time, the rate of the next <paramref name="sample"/> is taken, if repair is at work then.</summary>
    /// <exception cref="CommandFailedException">The node does not answer, or not with metrics.</exception>
    public static async Task<MeasuredRepair> MeasureAsync(HttpClient http, Uri endpoint, TimeSpan sample, TimeProvider time, CancellationToken cancellationToken)
    {
        long began = time.GetTimestamp();
        MeasuredRepair first = await ReadAsync(http, endpoint, cancellationToken);
        if (first.BytesPerSecond is not null || first.RebuiltBytes is not { } before) return first;
        await Task.Delay(sample, time, cancellationToken);
        MeasuredRepair second = await ReadAsync(http, endpoint, cancellationToken);
        TimeSpan elapsed = time.GetElapsedTime(began);
        return second.RebuiltBytes - before is > 0 and var rebuilt
            ? second with { BytesPerSecond = rebuilt / elapsed.TotalSeconds, Source = $"measured over {Quantities.Show(elapsed)}: {second.Source}" }
            : second with { Source = $"no repair is at work at {endpoint}" };
    }

    private static async Task<MeasuredRepair> ReadAsync(HttpClient http, Uri endpoint, CancellationToken cancellationToken)
    {
        Uri address = new(endpoint, "/metrics");
        string text;
        try
        {
            using HttpResponseMessage response = await http.GetAsync(address, cancellationToken);
            if (!response.IsSuccessStatusCode) throw new CommandFailedException($"{address} answered {(int)response.StatusCode}; is --endpoint a node of ObjectStore?");
            text = await response.Content.ReadAsStringAsync(cancellationToken);
        }
        catch (Exception e) when (e is HttpRequestException || (e is TaskCanceledException && !cancellationToken.IsCancellationRequested))
        {
            throw new CommandFailedException($"{address} cannot be read: {e.Message}", e);
        }

        return Parse(text, address.ToString());
    }

    public static MeasuredRepair Parse(string text, string from)
    {
        Dictionary<string, List<double>> samples = new(StringComparer.Ordinal);
        foreach (string line in text.Split('\n'))
        {
            if (line.Length == 0 || line[0] == '#') continue;
            int space = line.LastIndexOf(' ');
            if (space <= 0 || !double.TryParse(line.AsSpan(space + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out double value) || !double.IsFinite(value)) continue;
            int labels = line.IndexOf('{', StringComparison.Ordinal);
            string name = labels > 0 ? line[..labels] : line[..space];
            if (!samples.TryGetValue(name, out List<double>? values)) samples[name] = values = [];
            values.Add(value);
        }

        List<double> capacities = Capacities.Select(name => samples.GetValueOrDefault(name)).FirstOrDefault(values => values?.Any(value => value > 0) == true) ?? [];
        capacities = [.. capacities.Where(value => value > 0)];
        double? driveBytes = capacities.Count > 0 ? capacities.Max() : null;
        int? drives = capacities.Count > 0 ? capacities.Count : null;
        (string Name, double Sum)? bytes = First(Bytes), seconds = First(Seconds);
        if (First(Rates) is { } rate) return new MeasuredRepair(rate.Sum, bytes?.Sum, driveBytes, drives, $"measured: {rate.Name} at {from}");
        if (bytes is { } rebuilt && seconds is { } busy) return new MeasuredRepair(rebuilt.Sum / busy.Sum, rebuilt.Sum, driveBytes, drives, $"measured: {rebuilt.Name} / {busy.Name} at {from}");
        return new MeasuredRepair(null, bytes?.Sum, driveBytes, drives, bytes is { } only ? $"{only.Name} at {from}" : $"nothing has been repaired yet at {from}");

        (string Name, double Sum)? First(string[] names)
        {
            foreach (string name in names)
            {
                if (samples.TryGetValue(name, out List<double>? values) && values.Sum() is > 0 and var sum) return (name, sum);
            }

            return null;
        }
    }
}

using ObjectStore.Admin.Cluster;
using ObjectStore.Admin.CommandLine;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Admin.Durability;

/// <summary>What a node's status says of the pool: drives, hosts, classes.</summary>
internal static class PoolSource
{
    /// <summary>Where the command line does not say otherwise. Drives that are out, removed or draining do not count, as the store does not count them; the size is that of the largest.</summary>
    public static DurabilityInputs Take(DurabilityInputs inputs, Arguments arguments, ClusterStatus status, string from)
    {
        DriveStatus[] drives = [.. status.Drives.Where(drive => drive.State is not (AdminApi.Out or AdminApi.Removed or AdminApi.Draining))];
        if (drives.Length == 0) throw new CommandFailedException($"{from} has no drives in its pool that take new objects");
        int count = arguments.Value("--drives") is null ? drives.Length : inputs.Drives;
        return inputs with
        {
            Drives = count,
            Hosts = arguments.Value("--hosts") is null ? Math.Min(count, drives.Select(drive => drive.Domain).Distinct(StringComparer.Ordinal).Count()) : inputs.Hosts,
            DriveBytes = arguments.Value("--drive-size") is null && drives.Max(drive => drive.CapacityBytes) is > 0 and var size ? size : inputs.DriveBytes,
            Classes = status.Classes.ToDictionary(
                row => row.StorageClass, row => new ClassSchemes(Parse(row.Small, from), Parse(row.Large, from), (int)Math.Clamp(row.SmallBelowBytes, 0, int.MaxValue)), StringComparer.Ordinal),
            Spreads = arguments.Value("--hosts") is null && arguments.Value("--drives") is null
                ? (status.Spreads ?? []).Where(each => each.ShardsPerHost.Sum() == each.Width).ToDictionary(each => each.Width, each => each.ShardsPerHost) : inputs.Spreads,
            PoolSource = $"the status of {from}, where no option says otherwise",
        };
    }

    private static Scheme Parse(string text, string from)
        => DurabilityCommand.TryParseScheme(text) ?? throw new CommandFailedException($"{from} names a scheme that this version does not understand: {text}");
}

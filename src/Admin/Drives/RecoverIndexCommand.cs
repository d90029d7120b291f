using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using ObjectStore.Admin.CommandLine;
using ObjectStore.Admin.Volumes;
using ObjectStore.Storage.Recovery;

namespace ObjectStore.Admin.Drives;

/// <summary><c>s3-admin recover-index</c>.</summary>
internal sealed class RecoverIndexCommand : ICommand
{
    public string Name => "recover-index";

    public string Summary => "Rebuild a drive's index from its volumes alone";

    public string Help => """
        Usage: s3-admin recover-index FOLDER [options]

        Reads every volume of a drive folder and makes its index anew, as a start does where there is none. The drive must not be in use. The old index is set aside, and removed
        when the new one is on disk. Volumes with a torn end are sealed, and those with nothing alive removed, as by a start. The exit code is 1 where volumes are damaged.

          --format FORMAT   text or json. Default: text
          --help            Print this, and stop.
        """;

    public Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        Arguments arguments = Arguments.Parse(words, ["--format"]);
        string folder = arguments.Single("FOLDER");
        bool json = arguments.WantsJson();
        IndexRecoveryResult result = IndexRecovery.Run(folder, context.Time, NextRandom);
        if (json) context.Output.WriteLine(JsonSerializer.Serialize(ToJson(result), AdminJson.Default.RecoveryJson));
        else Print(result, context.Output);
        return Task.FromResult(result.Report.CorruptRegions > 0 || result.PoisonedVolumes.Count > 0 ? ExitCode.DamageFound : ExitCode.Success);
    }

    /// <summary>For generations of new volumes, of which recovery makes none.</summary>
    private static ulong NextRandom()
    {
        Span<byte> bytes = stackalloc byte[8];
        RandomNumberGenerator.Fill(bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    private static void Print(IndexRecoveryResult result, TextWriter output)
    {
        output.WriteLine($"Drive {result.DriveId}: the index is made anew{(result.OldIndex ? ", the old one is removed" : "")}");
        output.WriteLine($"  volumes      {Number(result.Report.Volumes)}, {Quantities.Show(result.Report.ReplayedBytes)} read in {Quantities.Show(result.Report.Duration)}");
        output.WriteLine($"  fragments    {Number(result.Report.Fragments)} found, {Number(result.Statistics.LiveFragments)} alive");
        output.WriteLine($"  tombstones   {Number(result.Report.Tombstones)}");
        output.WriteLine($"  live         {Quantities.Show(result.Statistics.LiveBytes)}, garbage {Quantities.Show(result.Statistics.GarbageBytes)}");
        foreach ((long volume, long offset, long length) in result.TornTails) output.WriteLine($"  torn end     volume {Number(volume)}: {Number(length)} bytes at {Number(offset)}, never acknowledged; sealed there");
        foreach ((long volume, long offset, long length) in result.CorruptRegions) output.WriteLine($"  CORRUPT      volume {Number(volume)}: {Number(length)} bytes at {Number(offset)}");
        foreach (long volume in result.PoisonedVolumes) output.WriteLine($"  POISONED     volume {Number(volume)} could not be synced or sealed; move its data elsewhere");
    }

    private static RecoveryJson ToJson(IndexRecoveryResult result) => new(
        result.DriveId, result.OldIndex, result.Report.Volumes, result.Report.Fragments, result.Report.Tombstones, result.Statistics.LiveFragments, result.Statistics.LiveBytes, result.Statistics.GarbageBytes,
        result.Report.ReplayedBytes, result.Report.Duration.TotalSeconds, [.. result.CorruptRegions.Select(region => new VolumeRegionJson(region.VolumeId, region.OffsetBytes, region.LengthBytes))],
        [.. result.TornTails.Select(region => new VolumeRegionJson(region.VolumeId, region.OffsetBytes, region.LengthBytes))], [.. result.PoisonedVolumes]);

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);
}

internal sealed record VolumeRegionJson(long VolumeId, long Offset, long LengthBytes);

internal sealed record RecoveryJson(
    Guid DriveId, bool OldIndex, int Volumes, long Fragments, long Tombstones, long LiveFragments, long LiveBytes, long GarbageBytes, long ReadBytes, double Seconds, VolumeRegionJson[] CorruptRegions,
    VolumeRegionJson[] TornEnds, long[] PoisonedVolumes);

using System.Globalization;
using System.Text.Json;
using ObjectStore.Admin.CommandLine;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Recovery;

namespace ObjectStore.Admin.Volumes;

/// <summary><c>s3-admin volume inspect</c>: prints what is in a volume file as it reads it.</summary>
internal sealed class VolumeInspectCommand : ICommand
{
    public string Name => "volume inspect";

    public string Summary => "Print a volume file: header, records, footer, damage";

    public string Help => """
        Usage: s3-admin volume inspect FILE [options]

        Reads a volume file from end to end and prints its header, each record, its footer and what is damaged. Nothing is changed; the file may be in use, and then has
        a torn end at worst. The exit code is 1 where it is damaged. docs/formats/volume.md is the format.

          --summary         Only the header, damaged records and the end
          --format FORMAT   text or json. Default: text
          --help            Print this, and stop.

        Damaged records follow the intact ones. Keys are printed as text, with a backslash twice and bytes that cannot be printed as \xNN.
        """;

    public Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        Arguments arguments = Arguments.Parse(words, ["--format"], ["--summary"]);
        string file = arguments.Single("FILE");
        bool json = arguments.WantsJson();
        bool summary = arguments.Has("--summary");
        if (Directory.Exists(file)) throw new UsageException($"FILE is '{file}', a folder; name a file such as {Path.Combine(file, "volumes", "00000001.vol")}, or use drive inspect");
        if (!File.Exists(file)) throw new UsageException($"FILE is '{file}', which is not there; name a volume file");
        VolumeInspection found = json ? PrintJson(file, summary, context.Output, cancellationToken) : PrintText(file, summary, context.Output, cancellationToken);
        return Task.FromResult(found.IsDamaged ? ExitCode.DamageFound : ExitCode.Success);
    }

    private static VolumeInspection PrintText(string file, bool summary, TextWriter output, CancellationToken cancellationToken)
    {
        VolumeInspection found = VolumeInspector.Inspect(
            file,
            (header, problem) =>
            {
                output.WriteLine(header is null ? $"Volume file {file}" : $"Volume {Number(header.VolumeId)}: {file}");
                if (problem is not null) output.WriteLine($"  HEADER: {problem}");
                if (header is not null)
                {
                    output.WriteLine($"  cluster     {header.ClusterId}");
                    output.WriteLine($"  drive       {header.DriveId}");
                    output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  generation  {header.Generation:x16}"));
                    output.WriteLine($"  capacity    {Number(header.CapacityBytes)}");
                    output.WriteLine($"  created     {Time(header.Created)}");
                }

                output.WriteLine();
            },
            record =>
            {
                if (!summary || !record.Intact) output.WriteLine(Line(record));
            },
            cancellationToken);
        output.WriteLine();
        foreach ((long offset, long length) in found.CorruptRegions) output.WriteLine($"  CORRUPT REGION: {Number(length)} bytes at {Number(offset)} are no record, where records were");
        foreach ((long offset, long length) in found.TornRegions) output.WriteLine($"  torn        {Number(length)} bytes at {Number(offset)}, never acknowledged");
        output.WriteLine($"  records     {Number(found.Records)}" + (found.DamagedRecords > 0 ? $", {Number(found.DamagedRecords)} DAMAGED" : ""));
        output.WriteLine($"  log ends    at {Number(found.EndBytes)} of {Number(found.FileBytes)}");
        if (found.TornBytes > 0) output.WriteLine($"  torn end    {Number(found.TornBytes)} bytes behind it, never acknowledged or being written now");
        if (found.Truncated) output.WriteLine("  TRUNCATED: there is no footer, and the file is shorter than it was made");
        output.WriteLine(found.FileChecksum switch
        {
            FileChecksumState.Matches => "  checksum    of the file: matches the footer",
            FileChecksumState.Mismatch => "  CHECKSUM MISMATCH: the file is not what the footer says",
            _ => "  checksum    none: the volume is not sealed",
        });
        output.WriteLine(found.IsDamaged ? "  DAMAGED" : "  sound");
        return found;
    }

    private static string Line(InspectedRecord record)
    {
        string head = string.Create(CultureInfo.InvariantCulture, $"{record.OffsetBytes,12} {record.Kind,-9} {record.LengthBytes,8} bytes");
        string body = record.Kind switch
        {
            "fragment" or "copy" => string.Create(
                CultureInfo.InvariantCulture,
                $"  {record.Extent}/{record.Block}/{record.Shard}  {SchemeName(record.SchemeId)}  group {new PlacementGroupId(record.PlacementGroup)}  payload {record.PayloadBytes}  bucket {record.BucketId}  version {record.Version:x32}  part {record.PartNumber}  key {EscapedText.Of(record.KeyUtf8.Span)}"),
            "tombstone" => string.Create(CultureInfo.InvariantCulture, $"  takes away {record.TombstoneEntries}"),
            _ => "",
        };
        return $"{head}{body}  {(record.Intact ? "ok" : "DAMAGED: the payload does not match its checksums")}";
    }

    private static VolumeInspection PrintJson(string file, bool summary, TextWriter output, CancellationToken cancellationToken)
    {
        bool first = true;
        VolumeInspection found = VolumeInspector.Inspect(
            file,
            (header, problem) =>
            {
                VolumeHeaderJson? line = header is null ? null : new VolumeHeaderJson(
                    header.ClusterId, header.DriveId, header.VolumeId, header.Generation.ToString("x16", CultureInfo.InvariantCulture), header.CapacityBytes, header.Created);
                output.Write("{\"header\":");
                output.Write(line is null ? "null" : JsonSerializer.Serialize(line, LineJson.Default.VolumeHeaderJson));
                output.Write(",\n\"records\":[");
            },
            record =>
            {
                if (summary && record.Intact) return;
                output.Write(first ? "\n" : ",\n");
                first = false;
                output.Write(JsonSerializer.Serialize(ToJson(record), LineJson.Default.RecordJson));
            },
            cancellationToken);
        VolumeSummaryJson end = new(
            found.FileBytes, found.HeaderProblem, found.Records, found.DamagedRecords, found.EndBytes, found.TornBytes, [.. found.CorruptRegions.Select(region => new RegionJson(region.OffsetBytes, region.LengthBytes))],
            [.. found.TornRegions.Select(region => new RegionJson(region.OffsetBytes, region.LengthBytes))],
            found.FileChecksum switch { FileChecksumState.Matches => "matches", FileChecksumState.Mismatch => "mismatch", _ => "notSealed" }, found.Truncated, found.IsDamaged);
        output.Write("\n],\n\"summary\":");
        output.Write(JsonSerializer.Serialize(end, LineJson.Default.VolumeSummaryJson));
        output.WriteLine("}");
        return found;
    }

    private static RecordJson ToJson(InspectedRecord record)
    {
        bool fragment = record.Kind is "fragment" or "copy", tombstone = record.Kind == "tombstone";
        return new RecordJson(
            record.OffsetBytes, record.LengthBytes, record.Kind, record.Intact, fragment ? record.Extent.ToString() : null, fragment ? record.Block : null,
            fragment ? record.Shard : null, fragment ? SchemeName(record.SchemeId) : null, fragment ? record.PlacementGroup : null, fragment ? record.BucketId : null,
            fragment ? EscapedText.Of(record.KeyUtf8.Span) : null, fragment ? record.Version.ToString("x32", CultureInfo.InvariantCulture) : null, fragment ? record.PartNumber : null, record.PayloadBytes,
            fragment ? record.BlockSizeBytes : null, fragment ? record.BlockLengthBytes : null, record.Created, tombstone ? record.TombstoneEntries : null);
    }

    private static string SchemeName(int id) => Scheme.TryFromId(id, out Scheme scheme) ? scheme.ToString() : string.Create(CultureInfo.InvariantCulture, $"unknown scheme {id}");

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);
}

internal sealed record VolumeHeaderJson(Guid ClusterId, Guid DriveId, long VolumeId, string Generation, long CapacityBytes, DateTimeOffset Created);

internal sealed record RecordJson(
    long Offset, long LengthBytes, string Kind, bool Intact, string? Extent, int? Block, int? Shard, string? Scheme, int? PlacementGroup, long? BucketId, string? Key, string? Version,
    int? PartNumber, int PayloadBytes, int? BlockSizeBytes, int? BlockLengthBytes, DateTimeOffset Created, int? TombstoneEntries);

internal sealed record VolumeSummaryJson(
    long FileBytes, string? HeaderProblem, long Records, long DamagedRecords, long EndBytes, long TornBytes, RegionJson[] CorruptRegions, RegionJson[] TornRegions, string FileChecksum, bool Truncated, bool Damaged);

internal sealed record RegionJson(long Offset, long LengthBytes);

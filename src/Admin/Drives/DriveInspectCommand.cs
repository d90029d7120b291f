using System.Globalization;
using System.Text.Json;
using ObjectStore.Admin.CommandLine;
using ObjectStore.Storage.Recovery;

namespace ObjectStore.Admin.Drives;

/// <summary><c>s3-admin drive inspect</c>.</summary>
internal sealed class DriveInspectCommand : ICommand
{
    public string Name => "drive inspect";

    public string Summary => "Print a drive folder: identity, volumes, live and garbage";

    public string Help => """
        Usage: s3-admin drive inspect FOLDER [options]

        Prints the identity of a drive folder and its volumes, with what the index says of them. Nothing is changed; the drive may be in use, but then its process
        keeps the index to itself, and 's3-admin drives' of that node says what lives. The exit code is 1 where a volume is missing or cannot be made out. docs/formats/drive.md is the format.

          --format FORMAT   text or json. Default: text
          --help            Print this, and stop.
        """;

    public Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        Arguments arguments = Arguments.Parse(words, ["--format"]);
        string folder = arguments.Single("FOLDER");
        bool json = arguments.WantsJson();
        DriveInspection drive = DriveInspector.Inspect(folder);
        if (json) context.Output.WriteLine(JsonSerializer.Serialize(ToJson(drive), AdminJson.Default.DriveJson));
        else Print(drive, context.Output);
        return Task.FromResult(drive.IsDamaged ? ExitCode.DamageFound : ExitCode.Success);
    }

    private static void Print(DriveInspection drive, TextWriter output)
    {
        output.WriteLine($"Drive {drive.DriveId}: {drive.Path}");
        output.WriteLine($"  cluster  {drive.ClusterId}");
        output.WriteLine($"  in use   {(!drive.InUse ? "no" : drive.IndexProblem is null ? "yes; the index below is behind by what that process has in memory" : "yes; that process keeps the index to itself: 's3-admin drives' of its node says what lives")}");
        output.WriteLine($"  space    {Quantities.Show(drive.FreeBytes)} free of {Quantities.Show(drive.CapacityBytes)}");
        output.WriteLine(drive.IndexProblem is { } problem ? $"  index    {problem}" : $"  index    {Quantities.Show(drive.IndexBytes ?? 0)}");
        output.WriteLine();
        TextTable table = new("volume", "state", "file", "capacity", "live", "garbage", "fragments", "created", "");
        foreach (InspectedDriveVolume volume in drive.Volumes)
        {
            table.Add(
                volume.Id.ToString(CultureInfo.InvariantCulture), volume.State, Quantities.Show(volume.FileBytes), Quantities.Show(volume.CapacityBytes), Size(volume.LiveBytes), Size(volume.GarbageBytes),
                volume.LiveFragments?.ToString(CultureInfo.InvariantCulture) ?? "-", volume.Created?.UtcDateTime.ToString("yyyy-MM-dd HH:mm'Z'", CultureInfo.InvariantCulture) ?? "-",
                volume.Problem is { } wrong ? $"DAMAGED: {wrong}" : "");
        }

        table.Print(output, "  ");
        output.WriteLine();
        output.WriteLine($"  {drive.Volumes.Count} volumes, {Quantities.Show(drive.Volumes.Sum(volume => volume.FileBytes))} in files"
            + (drive.IndexProblem is null ? $", {Quantities.Show(drive.Volumes.Sum(volume => volume.LiveBytes ?? 0))} live, {Quantities.Show(drive.Volumes.Sum(volume => volume.GarbageBytes ?? 0))} garbage" : ""));
    }

    private static string Size(long? bytes) => bytes is { } known ? Quantities.Show(known) : "-";

    private static DriveJson ToJson(DriveInspection drive) => new(
        drive.Path, drive.ClusterId, drive.DriveId, drive.InUse, drive.CapacityBytes, drive.FreeBytes, drive.IndexBytes, drive.IndexProblem,
        [.. drive.Volumes.Select(volume => new DriveVolumeJson(
            volume.Id, volume.State, volume.FileBytes, volume.CapacityBytes, volume.Created, volume.LiveBytes, volume.GarbageBytes, volume.LiveFragments, volume.Problem))],
        drive.IsDamaged);
}

internal sealed record DriveJson(
    string Path, Guid ClusterId, Guid DriveId, bool InUse, long CapacityBytes, long FreeBytes, long? IndexBytes, string? IndexProblem, DriveVolumeJson[] Volumes, bool Damaged);

internal sealed record DriveVolumeJson(
    long VolumeId, string State, long FileBytes, long CapacityBytes, DateTimeOffset? Created, long? LiveBytes, long? GarbageBytes, long? LiveFragments, string? Problem);

using System.Globalization;
using System.Text.Json;
using ObjectStore.Admin.CommandLine;

namespace ObjectStore.Admin.Cluster;

/// <summary><c>s3-admin status</c>: everything at one glance. Finds damage where blocks are lost.</summary>
internal sealed class StatusCommand : ICommand
{
    public string Name => "status";

    public string Summary => "Drives, schemes, repair, scrub and compaction of a running cluster";

    public string Help => $"""
        Usage: s3-admin status [options]

        Prints the state of a running cluster. The exit code is 1 where blocks are lost.

        {AdminClient.OptionsHelp}
        """;

    public async Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        Arguments arguments = Arguments.Parse(words, AdminClient.Options, AdminClient.Flags);
        arguments.RefuseWords();
        bool json = arguments.WantsJson();
        using AdminClient client = AdminClient.Open(arguments, context);
        ClusterStatus status = await client.GetAsync(AdminApi.Status, AdminApiJson.Default.ClusterStatus, cancellationToken);
        if (json) context.Output.WriteLine(JsonSerializer.Serialize(status, AdminApiJson.Default.ClusterStatus));
        else Print(status, context.Output);
        return status.Repair.LostBlocks > 0 ? ExitCode.DamageFound : ExitCode.Success;
    }

    private static void Print(ClusterStatus status, TextWriter output)
    {
        output.WriteLine($"Cluster {status.ClusterId} (version {status.Version}, map epoch {status.MapEpoch})");
        output.WriteLine();
        ClusterText.Drives(status.Drives, output);
        output.WriteLine();
        TextTable classes = new("class", "below", "small parts", "large parts");
        foreach (ClassStatus row in status.Classes)
        {
            classes.Add(
                row.StorageClass, (row.SmallBelowBytes / 1024.0).ToString("0.##", CultureInfo.InvariantCulture) + " KiB", row.SmallUsed == row.Small ? row.Small : $"{row.SmallUsed} (asked for {row.Small})",
                row.LargeUsed == row.Large ? row.Large : $"{row.LargeUsed} (asked for {row.Large})");
        }

        classes.Print(output);
        if (status.Classes.Any(row => row.Narrowed)) output.WriteLine("NARROWED: there are too few drives for some schemes; new objects get less than was asked for.");
        if (status.OlderWidths is [_, ..] older)
            output.WriteLine($"OLDER: objects from when there were other drives or schemes may have {string.Join(" or ", older)} fragments of a block. They keep that until they are written again, as by a copy onto itself that names its storage class.");
        output.WriteLine();
        ClusterText.Repair(status.Repair, output);
        ClusterText.Scrub(status.Scrub, output);
        ClusterText.Compaction(status.Compaction, output);
        ClusterText.Garbage(status.Garbage, output);
        ClusterText.Orphans(status.Orphans, output);
    }
}

/// <summary><c>s3-admin drives</c>.</summary>
internal sealed class DrivesCommand : ICommand
{
    public string Name => "drives";

    public string Summary => "The drives of a running cluster with their states";

    public string Help => $"""
        Usage: s3-admin drives [options]

        Lists the drives of a running cluster: state, space, and slots of placement groups ("filling": those whose data is still on its way to the drive; "left to move":
        those of other drives whose data is still on its way from it). A drive that is drained, or out, can go when nothing is left to move; 'drive remove' says so too.

        {AdminClient.OptionsHelp}
        """;

    public async Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        Arguments arguments = Arguments.Parse(words, AdminClient.Options, AdminClient.Flags);
        arguments.RefuseWords();
        bool json = arguments.WantsJson();
        using AdminClient client = AdminClient.Open(arguments, context);
        DriveList list = await client.GetAsync(AdminApi.Drives, AdminApiJson.Default.DriveList, cancellationToken);
        if (json) context.Output.WriteLine(JsonSerializer.Serialize(list, AdminApiJson.Default.DriveList));
        else ClusterText.Drives(list.Drives, context.Output);
        return ExitCode.Success;
    }
}

/// <summary><c>s3-admin drive drain | undrain | out DRIVE</c>: asks for another state of a drive.</summary>
internal sealed class DriveStateCommand(
    string verb, string state, string summary, string explanation, string force = "Also where too few drives are left for the schemes in use") : ICommand
{
    public static IReadOnlyList<ICommand> All { get; } =
    [
        new DriveStateCommand(
            "drain", AdminApi.Draining, "Move a drive's data away, so that it can be taken out",
            "Gives the drive's slots to others and moves its data there; it is read from until then, and takes nothing new. It has no slots at once; it can go when 's3-admin drives' shows 0 left to move."),
        new DriveStateCommand("undrain", AdminApi.Up, "Take back a drain, an out, or a removal", "Puts the drive back to work: it takes its share again."),
        new DriveStateCommand(
            "out", AdminApi.Out, "Give a drive up as lost, and repair what it held at once",
            "Takes the drive for lost without waiting for it: what it held is rebuilt from other drives. Use drain where it can still be read."),
        new DriveStateCommand(
            "remove", AdminApi.Removed, "Forget a drive that was drained or given up",
            "Takes the drive off the cluster's list for good. Refused while it has slots, or anything is left to move from it.",
            "Give up a drive that is out and never comes back, although it may have what is nowhere\n                      else: nothing waits for it any more, and what cannot be made without it is lost"),
    ];

    public string Name => $"drive {verb}";

    public string Summary => summary;

    public string Help => $"""
        Usage: s3-admin drive {verb} DRIVE [options]

        {explanation}

          DRIVE               The drive's id, or the beginning of it if no other begins so, or its path
          --force             {force}
        {AdminClient.OptionsHelp}
        """;

    public async Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        Arguments arguments = Arguments.Parse(words, AdminClient.Options, [.. AdminClient.Flags, "--force"]);
        string wanted = arguments.Single("DRIVE");
        bool json = arguments.WantsJson();
        using AdminClient client = AdminClient.Open(arguments, context);
        DriveList list = await client.GetAsync(AdminApi.Drives, AdminApiJson.Default.DriveList, cancellationToken);
        DriveStatus[] found =
            [.. list.Drives.Where(drive => drive.Path == wanted || (wanted.Length >= 4 && drive.DriveId.ToString("D").StartsWith(wanted, StringComparison.OrdinalIgnoreCase)))];
        if (found.Length != 1)
        {
            throw new UsageException(found.Length == 0
                ? $"DRIVE is '{wanted}', which is no drive of this cluster; 's3-admin drives' lists them"
                : $"DRIVE is '{wanted}', which {found.Length} drives are called: {string.Join(", ", found.Select(drive => drive.DriveId))}; give more of the id");
        }

        DriveStateRequest request = new(state, arguments.Has("--force"));
        if (request is { State: AdminApi.Removed, Force: true })
        {
            // Before it is done, and beside what it prints: an operator's terminal keeps what was given up.
            ClusterStatus status = await client.GetAsync(AdminApi.Status, AdminApiJson.Default.ClusterStatus, cancellationToken);
            int slots = status.Drives.FirstOrDefault(drive => drive.DriveId == found[0].DriveId)?.SourceOf ?? 0;
            context.Error.WriteLine(
                $"Giving up drive {found[0].DriveId}: {ClusterText.Number(slots)} slots wait for it. Of what needs drives that are out, {ClusterText.Number(status.Repair.AwaitingBlocks)} blocks are known; "
                + $"{ClusterText.Number(status.Repair.LostBlocks)} are lost already.");
        }

        list = await client.PostAsync(AdminApi.StateOf(found[0].DriveId), request, AdminApiJson.Default.DriveStateRequest, AdminApiJson.Default.DriveList, cancellationToken);
        if (json) context.Output.WriteLine(JsonSerializer.Serialize(list, AdminApiJson.Default.DriveList));
        else ClusterText.Drives(list.Drives, context.Output);
        return ExitCode.Success;
    }
}

/// <summary><c>s3-admin repair</c>, <c>scrub</c>, <c>compaction</c> and <c>garbage</c>: how far it is, and pause and resume.</summary>
internal sealed class BackgroundCommand(string name, string path, string summary, string[] actions, string actionsHelp) : ICommand
{
    public static IReadOnlyList<ICommand> All { get; } =
    [
        new BackgroundCommand("repair", AdminApi.Repair, "How far repair is; pause or resume it", ["pause", "resume"], "pause, resume     Stop and go on. A pause outlasts a restart, and what is missing stays missing meanwhile"),
        new BackgroundCommand("scrub", AdminApi.Scrub, "How far the scrub is; start, pause or resume it", ["start", "pause", "resume"], "start             Begin a pass now. pause, resume: stop and go on; a pause outlasts a restart"),
        new BackgroundCommand(
            "compaction", AdminApi.Compaction, "What compaction has given back; pause or resume it", ["pause", "resume"],
            "pause, resume     Stop and go on. A pause outlasts a restart, and drives fill with garbage meanwhile. That of a node with drives only is not paused"),
        new BackgroundCommand(
            "garbage", AdminApi.Garbage, "Whether the bytes of what was deleted are deleted; pause or resume that", ["pause", "resume"],
            "pause, resume     Stop and go on. A pause outlasts a restart. What the sweeps of drives that were moved from, and the scrub's of orphans, delete is not held"),
        new BackgroundCommand(
            "orphans", AdminApi.Orphans, "Whether fragments that nothing names are kept; let them be deleted", ["release"],
            "release           Delete them again. They are kept once there are far more than crashes leave behind: make sure first that the metadata is the right one"),
    ];

    public string Name => name;

    public string Summary => summary;

    public string Help => $"""
        Usage: s3-admin {name} [{string.Join(" | ", actions)}] [options]

        Prints the state of the {name}, after doing what is asked for. The exit code is 1 where there is loss or corruption, or orphans are kept.

          {actionsHelp}
        {AdminClient.OptionsHelp}
        """;

    public async Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        Arguments arguments = Arguments.Parse(words, AdminClient.Options, AdminClient.Flags);
        string? action = arguments.Words.Count == 0 ? null : arguments.Single("the action");
        if (action is not null && !actions.Contains(action)) throw new UsageException($"'{action}' is nothing that {name} does; use {string.Join(", ", actions)}, or nothing to see its state");
        bool json = arguments.WantsJson();
        using AdminClient client = AdminClient.Open(arguments, context);
        ClusterStatus status = action is null
            ? await client.GetAsync(AdminApi.Status, AdminApiJson.Default.ClusterStatus, cancellationToken)
            : await client.PostAsync(path, new ActionRequest(action), AdminApiJson.Default.ActionRequest, AdminApiJson.Default.ClusterStatus, cancellationToken);
        if (json) context.Output.WriteLine(JsonSerializer.Serialize(status, AdminApiJson.Default.ClusterStatus));
        else if (path == AdminApi.Repair) ClusterText.Repair(status.Repair, context.Output);
        else if (path == AdminApi.Scrub) ClusterText.Scrub(status.Scrub, context.Output);
        else if (path == AdminApi.Compaction) ClusterText.Compaction(status.Compaction, context.Output);
        else if (path == AdminApi.Garbage) ClusterText.Garbage(status.Garbage, context.Output);
        else ClusterText.Orphans(status.Orphans, context.Output);
        bool found = path switch { AdminApi.Repair => status.Repair.LostBlocks > 0, AdminApi.Scrub => status.Scrub.CorruptFragments > 0, AdminApi.Orphans => status.Orphans.Kept, _ => false };
        return found ? ExitCode.DamageFound : ExitCode.Success;
    }
}

/// <summary>Statuses as people read them.</summary>
internal static class ClusterText
{
    private const string NotKnown = "not known";

    public static void Drives(IReadOnlyList<DriveStatus> drives, TextWriter output)
    {
        TextTable table = new("drive", "node", "domain", "state", "used", "garbage", "free", "size", "slots", "filling", "left to move", "errors", "path");
        foreach (DriveStatus drive in drives)
        {
            table.Add(
                drive.DriveId.ToString("D"), drive.NodeId, drive.Domain, State(drive), Size(drive.UsedBytes),
                Size(drive.GarbageBytes), Size(drive.FreeBytes), Size(drive.CapacityBytes), Number(drive.Slots), Number(drive.IncompleteSlots), Number(drive.SourceOf),
                drive.Errors is { } errors ? Number(errors) : NotKnown, drive.Path);
        }

        table.Print(output);
    }

    private static string State(DriveStatus drive)
    {
        string state = drive.Reason is null ? drive.State : $"{drive.State}: {drive.Reason}";
        return drive.Reduction > 0 ? string.Create(CultureInfo.InvariantCulture, $"{state}; share less {drive.Reduction:P0}") : state;
    }

    public static void Repair(RepairStatus repair, TextWriter output)
    {
        string left = repair.EstimatedSecondsLeft is { } seconds ? $", about {Time(seconds)} left" : "";
        output.WriteLine($"Repair: {repair.State}, {Number(repair.QueuedExtents)} extents and {Number(repair.QueuedGroups)} groups queued, "
            + $"{Quantities.Show(repair.RebuiltBytes)} rebuilt, rate {(repair.BytesPerSecond is { } rate ? Quantities.Show(rate) + "/s" : NotKnown)}{left}");
        if (repair.FewestSpare is { } spare) output.WriteLine($"  The block in most danger, of those found of late, could lose {Number(spare)} more fragments.");
        if (repair.AwaitingBlocks > 0) output.WriteLine($"  WAITING: {Number(repair.AwaitingBlocks)} blocks have too few fragments on the drives that are in; drives that are out may have others.");
        if (repair.UnidentifiedBlocks > 0) output.WriteLine($"  UNKNOWN: of {Number(repair.UnidentifiedBlocks)} blocks only fragments are left that are so damaged that they do not say whose they are. They are of no object, or lost.");
        if (repair.LostBlocks > 0) output.WriteLine($"  LOST: {Number(repair.LostBlocks)} blocks have too few fragments left.");
    }

    public static void Scrub(ScrubStatus scrub, TextWriter output)
    {
        string last = scrub.LastCompleted?.UtcDateTime.ToString("yyyy-MM-dd HH:mm'Z'", CultureInfo.InvariantCulture) ?? "never";
        string percent = scrub.Fraction is { } fraction ? (Math.Clamp(fraction, 0, 1) * 100).ToString("0.#", CultureInfo.InvariantCulture) + " % of a pass" : "how much of a pass is not known";
        output.WriteLine($"Scrub: {scrub.State}, {percent}, {Quantities.Show(scrub.VerifiedBytes)} verified, period {Time(scrub.PeriodSeconds)}, last whole pass {last}");
        if (scrub.CorruptFragments > 0) output.WriteLine($"  CORRUPT: {Number(scrub.CorruptFragments)} fragments were found corrupt in this pass and handed to repair.");
    }

    public static void Compaction(CompactionStatus compaction, TextWriter output)
        => output.WriteLine($"Compaction: {compaction.State}, {Quantities.Show(compaction.GarbageBytes)} garbage, {Quantities.Show(compaction.ReclaimedBytes)} given back");

    public static void Garbage(GarbageStatus? garbage, TextWriter output) => output.WriteLine(
        garbage is null ? $"Garbage: {NotKnown}" : garbage.State == "paused" ? "Garbage: PAUSED. The bytes of what is deleted and overwritten are not deleted" : "Garbage: the bytes of what was deleted are deleted after their grace");

    public static void Orphans(OrphanStatus orphans, TextWriter output)
    {
        if (orphans.Kept) output.WriteLine("Orphans: KEPT. Far more fragments are named by nothing than crashes leave behind; make sure that the metadata is the right one, then 's3-admin orphans release'.");
        else output.WriteLine("Orphans: deleted as they are found");
    }

    private static string Size(long? bytes) => bytes is { } known ? Quantities.Show(known) : NotKnown;

    private static string Time(double seconds) => Quantities.Show(TimeSpan.FromSeconds(Math.Clamp(seconds, 0, 1e10)));

    public static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);
}

/// <summary><c>s3-admin drive format PATH</c>: makes an empty folder of the node a drive.</summary>
internal sealed class DriveFormatCommand : ICommand
{
    public string Name => "drive format";

    public string Summary => "Make an empty drive folder of the node a new drive";

    public string Help => $"""
        Usage: s3-admin drive format PATH [options]

        Makes an empty folder a new drive and takes it into use at once. For a drive that was replaced: make sure that it is mounted, since an empty mount point looks the same.

          PATH                The folder, as the node's --drives names it
        {AdminClient.OptionsHelp}
        """;

    public async Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken)
    {
        Arguments arguments = Arguments.Parse(words, AdminClient.Options, AdminClient.Flags);
        FormatRequest request = new(arguments.Single("PATH"));
        bool json = arguments.WantsJson();
        using AdminClient client = AdminClient.Open(arguments, context);
        DriveList list = await client.PostAsync(AdminApi.Format, request, AdminApiJson.Default.FormatRequest, AdminApiJson.Default.DriveList, cancellationToken);
        if (json) context.Output.WriteLine(JsonSerializer.Serialize(list, AdminApiJson.Default.DriveList));
        else ClusterText.Drives(list.Drives, context.Output);
        return ExitCode.Success;
    }
}

/* What each kind of op is done by, and the walk over a plan's ops. */
#include "context.h"
#include "sys.h"

static const struct {
        op_function *prepare; /* in the supervisor */
        op_function *open;    /* sources of mounts */
        op_function *perform; /* in the sandbox */
} operations[PLAN_KIND_COUNT] = {
        [PLAN_ProvideDirectory] = { .prepare = prepare_provide_directory },
        [PLAN_CreateCgroup] = { .prepare = prepare_create_cgroup },
        [PLAN_SetCgroup] = { .prepare = prepare_set_cgroup },
        [PLAN_RunService] = { .prepare = prepare_run_service },
        [PLAN_OpenNotify] = { .prepare = prepare_open_notify, .open = open_open_notify, .perform = perform_open_notify },
        [PLAN_PassSockets] = { .prepare = prepare_pass_sockets },
        [PLAN_KeepLog] = { .prepare = prepare_keep_log, .perform = perform_keep_log },
        [PLAN_MountSecrets] = { .prepare = prepare_mount_secrets, .perform = perform_mount_secrets },
        [PLAN_PlaceSecret] = { .prepare = prepare_place_secret, .perform = perform_place_secret },
        [PLAN_Survive] = { .prepare = prepare_survive },
        [PLAN_CheckHealth] = { .prepare = prepare_check_health },
        [PLAN_AnnouncePayload] = { .perform = perform_announce_payload },
        [PLAN_CreateNamespaces] = { .prepare = prepare_create_namespaces },
        [PLAN_MapIds] = { .prepare = prepare_map_ids, .perform = perform_map_ids },
        [PLAN_SetIds] = { .perform = perform_set_ids },
        [PLAN_SetGroups] = { .perform = perform_set_groups },
        [PLAN_SetDeathSignal] = { .perform = perform_set_death_signal },
        [PLAN_MountRoot] = { .perform = perform_mount_root },
        [PLAN_MountRootTree] = { .open = open_root_tree, .perform = perform_mount_root_tree },
        [PLAN_RestrictRoot] = { .perform = perform_restrict_root },
        [PLAN_MakeDirectory] = { .perform = perform_make_directory },
        [PLAN_MakeSymlink] = { .perform = perform_make_symlink },
        [PLAN_WriteFile] = { .perform = perform_write_file },
        [PLAN_BindMount] = { .open = open_bind_mount, .perform = perform_bind_mount },
        [PLAN_BindDevice] = { .open = open_bind_device, .perform = perform_bind_device },
        [PLAN_MountDev] = { .open = open_mount_dev, .perform = perform_mount_dev },
        [PLAN_MakeDevice] = { .open = open_make_device },
        [PLAN_MountTmpfs] = { .perform = perform_mount_tmpfs },
        [PLAN_MountOverlay] = { .prepare = prepare_overlay, .open = open_overlay, .perform = perform_mount_overlay },
        [PLAN_CreateProc] = { .perform = perform_create_proc },
        [PLAN_SetSysctl] = { .perform = perform_set_sysctl },
        [PLAN_AttachProc] = { .perform = perform_attach_proc },
        [PLAN_MountDevpts] = { .perform = perform_mount_devpts },
        [PLAN_MaskPath] = { .perform = perform_mask_path },
        [PLAN_SetMountAttributes] = { .perform = perform_set_mount_attributes },
        [PLAN_EnterRoot] = { .perform = perform_enter_root },
        [PLAN_SetHostname] = { .perform = perform_set_hostname },
        [PLAN_BringUpLoopback] = { .perform = perform_bring_up_loopback },
        [PLAN_SetRlimit] = { .perform = perform_set_rlimit },
        [PLAN_RaiseRlimit] = { .perform = perform_raise_rlimit },
        [PLAN_SetUmask] = { .perform = perform_set_umask },
        [PLAN_ChangeDirectory] = { .perform = perform_change_directory },
        [PLAN_SetEnvironment] = { .prepare = prepare_environment },
        [PLAN_NullStdin] = { .perform = perform_null_stdin },
        [PLAN_OpenTerminal] = { .perform = perform_open_terminal },
        [PLAN_NewSession] = { .perform = perform_new_session },
        [PLAN_LimitCapabilities] = { .perform = perform_limit_capabilities },
        [PLAN_SetCapabilities] = { .perform = perform_set_capabilities },
        [PLAN_SetSecurebits] = { .perform = perform_set_securebits },
        [PLAN_SetNoNewPrivileges] = { .perform = perform_set_no_new_privileges },
        [PLAN_NewKeyring] = { .perform = perform_new_keyring },
        [PLAN_ProtectProcess] = { .perform = perform_protect_process },
        [PLAN_CreateLandlockRuleset] = { .perform = perform_create_landlock_ruleset },
        [PLAN_AllowPath] = { .perform = perform_allow_path },
        [PLAN_AllowPort] = { .perform = perform_allow_port },
        [PLAN_StartInit] = { .prepare = prepare_start_init, .perform = perform_start_init },
        [PLAN_RestrictSelf] = { .perform = perform_restrict_self },
        [PLAN_CheckDescriptors] = { .perform = perform_check_descriptors },
        [PLAN_SealDescriptors] = { .perform = perform_seal_descriptors },
        [PLAN_KeepDescriptor] = { .prepare = prepare_keep_descriptor, .perform = perform_keep_descriptor },
        [PLAN_InstallFilter] = { .perform = perform_install_filter },
        [PLAN_Execute] = { .prepare = prepare_execute, .perform = perform_execute },
};

/* Carries out ops from the one given; comes back only when there is none left that executes a program. */
int run_ops(struct context *c, const struct plan_record *from, uint32_t index) {
        const struct plan_record *r = from;
        for (; index < c->plan->header->op_count; index++, r = plan_next(r)) {
                op_function *perform = operations[r->kind].perform;
                if (perform == NULL)
                        continue;
                c->record = r;
                c->at.op = index;
                c->at.detail = DETAIL_NONE;
                int error = perform(c, plan_payload(r));
                if (error < 0)
                        return error;
                mark(c, c->at.stage, index);
        }
        return -ENOEXEC;
}

int for_each_op(struct context *c, int opening) {
        const struct plan_record *r = plan_first_op(c->plan);
        for (uint32_t i = 0; i < c->plan->header->op_count; i++, r = plan_next(r)) {
                op_function *f = opening ? operations[r->kind].open : operations[r->kind].prepare;
                if (f == NULL)
                        continue;
                c->record = r;
                c->at.op = i;
                int error = f(c, plan_payload(r));
                if (error < 0)
                        return error;
                if (opening)
                        mark(c, STAGE_PREPARE, i);
        }
        return 0;
}
